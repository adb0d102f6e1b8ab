#!/usr/bin/env python3
"""The jobs of benches/jobs for Spark Structured Streaming, local[2].

  spark_job.py JOB      with `data` in the working directory; writes `out` and `checkpoint`

Available-now, the same files per batch as our jobs, the Parquet sink with its
exactly-once log, UI off, two shuffle partitions: Spark at its best, not as it
comes.
"""
import argparse

from pyspark.sql import SparkSession, functions as F

EVENTS = "user_id string, page_id string, ad_id string, ad_type string, event_type string, event_time string, ip_address string"
TRAIL = """Records array<struct<
 eventVersion string, userIdentity struct<type string, principalId string, arn string, accountId string, accessKeyId string,
   userName string, invokedBy string,
   sessionContext struct<sessionIssuer struct<type string, principalId string, arn string, accountId string, userName string>,
     attributes struct<creationDate string, mfaAuthenticated string>>>,
 eventTime string, eventSource string, eventName string, awsRegion string, sourceIPAddress string, userAgent string,
 errorCode string, errorMessage string, requestParameters string, responseElements string,
 requestID string, eventID string, readOnly boolean, resources array<struct<ARN string, accountId string, type string>>,
 eventType string, managementEvent boolean, recipientAccountId string, eventCategory string>>"""


def cloudtrail(spark):
    r = (spark.readStream.format("json").schema(TRAIL).option("maxFilesPerTrigger", 200).load("data")
         .select(F.explode("Records").alias("r")))
    c = F.col
    return r.select(
        c("r.eventTime").cast("timestamp").alias("event_time"), c("r.eventID").alias("event_id"),
        c("r.eventSource").alias("event_source"), c("r.eventName").alias("event_name"), c("r.awsRegion").alias("aws_region"),
        c("r.sourceIPAddress").alias("source_ip"), c("r.userAgent").alias("user_agent"), c("r.userIdentity.type").alias("user_type"),
        c("r.userIdentity.arn").alias("user_arn"), c("r.userIdentity.accountId").alias("account_id"),
        c("r.userIdentity.sessionContext.sessionIssuer.arn").alias("role_arn"),
        c("r.userIdentity.sessionContext.attributes.mfaAuthenticated").alias("mfa"), c("r.errorCode").alias("error_code"),
        c("r.requestParameters").alias("request_parameters"), c("r.readOnly").alias("read_only"),
        F.get(c("r.resources"), F.lit(0))["ARN"].alias("resource_arn"),
        F.to_date(c("r.eventTime").cast("timestamp")).alias("date")), ["date"]


def json_filter(spark):
    e = (spark.readStream.format("json").schema(EVENTS).option("maxFilesPerTrigger", 1).load("data")
         .where("event_type = 'view' and ad_type <> 'mail'"))
    return e.selectExpr("user_id", "ad_id", "page_id", "ad_type", "timestamp_millis(cast(event_time as bigint)) as ts"), []


def ysb(spark, file_format):
    campaigns = spark.read.schema("ad_id string, campaign_id string").csv("data/campaigns")
    e = (spark.readStream.format(file_format).schema(EVENTS).option("maxFilesPerTrigger", 1).load("data/events")
         .where("event_type = 'view'").selectExpr("ad_id", "timestamp_millis(cast(event_time as bigint)) as ts")
         .withWatermark("ts", "10 seconds").join(F.broadcast(campaigns), "ad_id")
         .groupBy("campaign_id", F.window("ts", "10 seconds")).count())
    return e.select("campaign_id", F.col("window.start").alias("window_start"), F.col("count").alias("n")), []


def hashtags(spark, slide):
    e = (spark.readStream.format("json").schema("ts bigint, tag string").option("maxFilesPerTrigger", 1).load("data")
         .selectExpr("tag", "timestamp_millis(ts) as t").withWatermark("t", "1 second")
         .groupBy("tag", F.window("t", "10 minutes", slide)).count())
    return e.select("tag", F.col("window.start").alias("window_start"), F.col("count").alias("n")), []


def pair_events(spark):
    return (spark.readStream.format("json").schema(EVENTS).option("maxFilesPerTrigger", 1).load("data")
            .selectExpr("user_id", "ad_id", "event_type", "timestamp_millis(cast(event_time as bigint)) as ts"))


def dedup(spark):
    e = pair_events(spark).select("user_id", "ad_id", "ts").withWatermark("ts", "1 hour")
    return e.dropDuplicatesWithinWatermark(["user_id", "ad_id"]), []


def join(spark):
    def side(event_type, letter):
        rows = pair_events(spark).where(f"event_type = '{event_type}'")
        return rows.selectExpr(f"user_id as {letter}_user", f"ad_id as {letter}_ad", f"ts as {letter}_ts").withWatermark(f"{letter}_ts", "1 second")

    condition = "v_user = c_user and v_ad = c_ad and c_ts >= v_ts and c_ts <= v_ts + interval 10 seconds"
    return side("view", "v").join(side("click", "c"), F.expr(condition)).select("v_user", "v_ad", "v_ts", "c_ts"), []


JOBS = {
    "cloudtrail": cloudtrail,
    "json-filter": json_filter,
    "ysb-json": lambda spark: ysb(spark, "json"),
    "ysb-parquet": lambda spark: ysb(spark, "parquet"),
    "hashtags": lambda spark: hashtags(spark, "10 seconds"),
    "hashtags-1s": lambda spark: hashtags(spark, "1 second"),
    "dedup": dedup,
    "join": join,
}

# Its heap where 6 GB are too few for its state.
MEMORY = {"dedup": "10g", "join": "10g"}


def session(name, memory="6g", jars=""):
    """Two cores, no UI; `jars` are the paths of more jars, with commas between them."""
    spark = (SparkSession.builder.appName(name).master("local[2]").config("spark.ui.enabled", "false").config("spark.jars", jars)
             .config("spark.sql.session.timeZone", "UTC").config("spark.sql.shuffle.partitions", "2")
             .config("spark.driver.memory", memory).config("spark.local.dir", "local").getOrCreate())
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("job", choices=list(JOBS))
    a = p.parse_args()
    spark = session(a.job, MEMORY.get(a.job, "6g"))
    frame, partitions = JOBS[a.job](spark)
    writer = frame.writeStream.format("parquet").option("path", "out").option("checkpointLocation", "checkpoint")
    query = writer.partitionBy(*partitions).trigger(availableNow=True).start()
    query.awaitTermination()
    spark.stop()


if __name__ == "__main__":
    main()
