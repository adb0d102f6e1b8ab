-- CloudTrail logs (gzipped JSON, nested) to a Parquet table by day. The same job for Spark: ../spark_job.py.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE trail (
  Records ARRAY<STRUCT<
    eventVersion: STRING,
    userIdentity: STRUCT<
      type: STRING, principalId: STRING, arn: STRING, accountId: STRING, accessKeyId: STRING, userName: STRING, invokedBy: STRING,
      sessionContext: STRUCT<
        sessionIssuer: STRUCT<type: STRING, principalId: STRING, arn: STRING, accountId: STRING, userName: STRING>,
        attributes: STRUCT<creationDate: STRING, mfaAuthenticated: STRING>>>,
    eventTime: STRING, eventSource: STRING, eventName: STRING, awsRegion: STRING, sourceIPAddress: STRING, userAgent: STRING,
    errorCode: STRING, errorMessage: STRING, requestParameters: STRING, responseElements: STRING,
    requestID: STRING, eventID: STRING, readOnly: BOOLEAN, resources: ARRAY<STRUCT<ARN: STRING, accountId: STRING, type: STRING>>,
    eventType: STRING, managementEvent: BOOLEAN, recipientAccountId: STRING, eventCategory: STRING>>
) USING json OPTIONS (path 'data', maxFilesPerTrigger '200');

CREATE STREAMING TABLE events
  USING parquet PARTITIONED BY (date) LOCATION 'out'
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now')
AS SELECT
  CAST(r.eventTime AS TIMESTAMP) AS event_time,
  r.eventID AS event_id,
  r.eventSource AS event_source,
  r.eventName AS event_name,
  r.awsRegion AS aws_region,
  r.sourceIPAddress AS source_ip,
  r.userAgent AS user_agent,
  r.userIdentity.type AS user_type,
  r.userIdentity.arn AS user_arn,
  r.userIdentity.accountId AS account_id,
  r.userIdentity.sessionContext.sessionIssuer.arn AS role_arn,
  r.userIdentity.sessionContext.attributes.mfaAuthenticated AS mfa,
  r.errorCode AS error_code,
  r.requestParameters AS request_parameters,
  r.readOnly AS read_only,
  get(r.resources, 0).ARN AS resource_arn,
  date(CAST(r.eventTime AS TIMESTAMP)) AS date
FROM (SELECT explode(Records) AS r FROM STREAM trail);
