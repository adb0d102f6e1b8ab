-- Lines of web servers' logs, from a topic into a Parquet table with a folder per day: a regular expression takes the fields out.
-- Lines that are none of a web server have no fields; they are kept as they came.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE records USING kafka
  OPTIONS (kafka.bootstrap.servers '127.0.0.1:9092', subscribe 'access-logs', startingOffsets 'earliest');

CREATE TEMPORARY VIEW lines AS
  SELECT cast(value AS string) AS line,
         r'^(\S+) \S+ (\S+) \[([^\]]+)\] "(\S+) (\S+) [^"]*" (\d{3}) (\d+|-)$' AS pattern
  FROM STREAM records;

CREATE TEMPORARY VIEW requests AS
  SELECT line,
         nullif(regexp_extract(line, pattern, 1), '') AS client,
         nullif(nullif(regexp_extract(line, pattern, 2), ''), '-') AS user,
         to_timestamp(nullif(regexp_extract(line, pattern, 3), ''), 'dd/MMM/yyyy:HH:mm:ss Z') AS at,
         nullif(regexp_extract(line, pattern, 4), '') AS method,
         nullif(regexp_extract(line, pattern, 5), '') AS path,
         try_cast(regexp_extract(line, pattern, 6) AS int) AS status,
         try_cast(regexp_extract(line, pattern, 7) AS bigint) AS bytes
  FROM lines;

CREATE STREAMING TABLE log USING parquet PARTITIONED BY (day) LOCATION 'log' OPTIONS (checkpointLocation 'checkpoint')
  AS SELECT client, user, at, method, path, status, bytes, CASE WHEN client IS NULL THEN line END AS other, date(at) AS day FROM requests;
