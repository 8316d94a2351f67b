"""The lake in ClickHouse's engine, inside the control process (chdb)."""
