-- Counts, each change of which is a record; an id is a key and its count, so that a change that came twice would show.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src USING kafka
  OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{topics}in', startingOffsets 'earliest', maxOffsetsPerTrigger '60');
CREATE STREAMING TABLE result
  USING kafka
  OPTIONS (checkpointLocation '{root}checkpoint'{flush}, outputMode 'update', kafka.bootstrap.servers '{servers}', topic '{topics}out', markerTopic '{topics}markers')
  AS SELECT k AS key, to_json(struct(concat(k, '/', n) AS id, k, n, v)) AS value
     FROM (SELECT k, count(*) AS n, sum(v) AS v
           FROM (SELECT coalesce(r.k, '-') AS k, r.v
                 FROM (SELECT from_json(cast(value AS string), 'k STRING, v BIGINT') AS r FROM STREAM src))
           GROUP BY k);
