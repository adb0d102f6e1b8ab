-- Reads a topic and counts its records; the console shows the count after each batch.
CREATE TABLE events USING kafka
  OPTIONS (kafka.bootstrap.servers '@BOOTSTRAP@', subscribe '@FROM@', startingOffsets 'earliest', maxOffsetsPerTrigger '500000');

CREATE STREAMING TABLE counts
  USING console
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now', outputMode 'complete')
AS SELECT count(*) AS n FROM STREAM events;
