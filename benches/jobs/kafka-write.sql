-- Lines of files to a topic, exactly once: a batch is one transaction.
CREATE TABLE lines USING text OPTIONS (path 'data', maxFilesPerTrigger '1');

CREATE STREAMING TABLE written
  USING kafka
  OPTIONS (kafka.bootstrap.servers '@BOOTSTRAP@', topic '@TO@', checkpointLocation 'checkpoint', trigger 'available-now')
AS SELECT value FROM STREAM lines;
