-- Records of a topic to another one.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src USING kafka
  OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{topics}in', startingOffsets 'earliest', maxOffsetsPerTrigger '60');
CREATE STREAMING TABLE result
  USING kafka
  OPTIONS (checkpointLocation '{root}checkpoint', kafka.bootstrap.servers '{servers}', topic '{topics}out', markerTopic '{topics}markers')
  AS SELECT r.id AS key, to_json(struct(r.id AS id, r.n + 1 AS n, r.text AS text)) AS value
     FROM (SELECT from_json(cast(value AS string), 'id STRING, n BIGINT, text STRING') AS r FROM STREAM src) WHERE r.n % 10 <> 3;
