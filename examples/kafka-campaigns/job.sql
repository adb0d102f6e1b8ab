-- Views of ads come from a topic per country, as JSON; a table says of which campaign an ad is. How many views has a campaign
-- per minute? The answer goes to another topic, exactly once: a batch is one transaction.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE records USING kafka
  OPTIONS (kafka.bootstrap.servers '127.0.0.1:9092', subscribe 'views-de,views-fr', startingOffsets 'earliest');

CREATE TABLE campaigns (ad STRING, campaign STRING) USING json OPTIONS (path 'campaigns.json');

CREATE TEMPORARY VIEW views AS
  SELECT topic, view.* FROM (SELECT topic, from_json(cast(value AS string), 'ad STRING, at TIMESTAMP') AS view FROM STREAM records);

CREATE STREAMING TABLE campaign_views USING kafka
  OPTIONS (kafka.bootstrap.servers '127.0.0.1:9092', topic 'campaign-views', checkpointLocation 'checkpoint')
  AS SELECT campaign AS key, to_json(named_struct('minute', minute, 'views', n, 'countries', countries)) AS value
     FROM (SELECT campaign, window.start AS minute, count(*) AS n, size(collect_set(topic)) AS countries
           FROM STREAM views WATERMARK at DELAY OF INTERVAL 10 SECONDS JOIN campaigns USING (ad)
           GROUP BY campaign, window(at, '1 minute'));
