-- Records of a topic to Parquet.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src USING kafka
  OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{topics}in', startingOffsets 'earliest', maxOffsetsPerTrigger '60');
CREATE STREAMING TABLE result
  USING parquet LOCATION '{root}out'
  OPTIONS (checkpointLocation '{root}checkpoint')
  AS SELECT r.id, r.n, r.kind
     FROM (SELECT from_json(cast(value AS string), 'id STRING, n BIGINT, kind STRING') AS r FROM STREAM src);
