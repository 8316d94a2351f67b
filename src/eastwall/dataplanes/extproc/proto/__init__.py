"""A vendored subset of Envoy's external processor protos and what protoc makes of it.

Not the wheel `xds-protos`: it installs into `site-packages/envoy`, as the Envoy binary's own wheel does. Message and field
names and numbers are Envoy's, file names are ours: protobuf's descriptor pool is one per process, so beside a real
`xds-protos` the *messages* would still collide; do not import both in one process.

Generate anew (grpcio-tools of requirements/dev.txt; the files are committed):
    python -m eastwall.dataplanes.extproc.proto
"""
