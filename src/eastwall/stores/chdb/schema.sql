-- One table design, embedded (chdb) and, with ReplicatedMergeTree, on a cluster. Statements end with a semicolon at a line's end.
-- Order is time first: every question is about a window. Retention drops partitions (row TTL can starve behind merges).
-- fsync_after_insert: a batch is acknowledged to the spool, which then deletes it, as soon as INSERT returns.

CREATE TABLE IF NOT EXISTS calls
(
    time          DateTime64(6, 'UTC')                COMMENT 'request start',
    id            String                              COMMENT 'event id, a ULID',
    service       LowCardinality(String),
    method        LowCardinality(String),
    path          String                              COMMENT 'without query, as sent',
    authority     LowCardinality(String),
    status        UInt16                              COMMENT '0: no answer was sent',
    request_bytes UInt64,
    response_bytes UInt64,
    duration_us   UInt64,
    source        String                              COMMENT 'IP address of the direct peer',
    endpoint      LowCardinality(String)              COMMENT 'endpoint id at decision time',
    template      LowCardinality(String),
    actor         String                              COMMENT 'kind:name',
    actor_kind    LowCardinality(String),
    actor_class   LowCardinality(String),
    strength      UInt8                               COMMENT '0 none, 1 guessed, 2 asserted, 3 verified',
    roles         Array(String),
    action        LowCardinality(String)              COMMENT 'what was done: allow, block, limit, redact',
    would         LowCardinality(String)              COMMENT 'what enforce would have done',
    findings      Array(String)                       COMMENT 'detection ids',
    severity      UInt8                               COMMENT 'of the worst finding: 0 none, 1 info ... 5 critical',
    policies      Array(String)                       COMMENT 'policies that matched',
    data_classes  Array(String),
    uninspected   Array(String)                       COMMENT 'reasons why something was not inspected',
    snapshot      UInt64,
    decide_us     UInt64,
    user_agent    String,
    trace         String,
    engine        LowCardinality(String),
    evidence      String                              COMMENT 'evidence and messages of the findings, for word search',
    record        String CODEC(ZSTD(3))               COMMENT 'the CallRecord whole, MessagePack',
    INDEX by_id id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_actor actor TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_severity severity TYPE minmax GRANULARITY 1,
    INDEX by_word evidence TYPE text(tokenizer = 'splitByNonAlpha')
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(time)
ORDER BY (time, id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS findings
(
    time       DateTime64(6, 'UTC'),
    call       String                                 COMMENT 'event id',
    service    LowCardinality(String),
    method     LowCardinality(String),
    path       String,
    template   LowCardinality(String),
    endpoint   LowCardinality(String),
    actor      String,
    source     String,
    status     UInt16,
    action     LowCardinality(String),
    would      LowCardinality(String),
    detection  LowCardinality(String),
    severity   UInt8                                  COMMENT '1 info, 2 low, 3 medium, 4 high, 5 critical',
    confidence UInt8                                  COMMENT '1 low, 2 medium, 3 high',
    owasp      Array(String),
    place      String,
    message    String,
    evidence   String,
    phase      LowCardinality(String),
    INDEX by_call call TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_word evidence TYPE text(tokenizer = 'splitByNonAlpha')
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(time)
ORDER BY (time, call)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
