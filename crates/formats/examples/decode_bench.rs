//! Decode rates of the JSON decoder on generated records: flat ad events (all and few columns) and nested audit records.
//!
//! `cargo run --release -p millstream-formats --example decode_bench`. The figures are of one core.
#![allow(clippy::disallowed_methods, clippy::indexing_slicing, reason = "a benchmark measures real time and makes its own data")]

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use millstream_core::{Options, Result};
use millstream_formats::datetime::Zone;
use millstream_formats::json::{JsonDecoder, JsonReadOptions};
use millstream_formats::{DecodeSettings, Decoder};

fn main() -> Result<()> {
    let ads = ad_events(400_000);
    let utf8 = || DataType::Utf8;
    let all = ["user_id", "page_id", "ad_id", "ad_type", "event_type", "ip_address"];
    let mut fields: Vec<Field> = all.iter().map(|name| Field::new(*name, utf8(), true)).collect();
    fields.push(Field::new("event_time", DataType::Int64, true));
    fields.push(Field::new("price", DataType::Float64, true));
    measure("ads, 8 of 8 columns", &ads, Schema::new(fields.clone()))?;
    let few =
        vec![Field::new("ad_id", utf8(), true), Field::new("event_type", utf8(), true), Field::new("event_time", DataType::Int64, true)];
    measure("ads, 3 of 8 columns", &ads, Schema::new(few))?;
    measure("ads, 0 of 8 columns", &ads, Schema::new(Vec::<Field>::new()))?;

    let trail = audit_records(2_000, 50);
    let identity = Fields::from(vec![Field::new("type", utf8(), true), Field::new("arn", utf8(), true)]);
    let record = Fields::from(vec![
        Field::new("eventTime", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("eventName", utf8(), true),
        Field::new("awsRegion", utf8(), true),
        Field::new("sourceIPAddress", utf8(), true),
        Field::new("userIdentity", DataType::Struct(identity), true),
        Field::new("requestParameters", utf8(), true),
    ]);
    let records = DataType::List(Arc::new(Field::new("element", DataType::Struct(record), true)));
    measure("audit, nested", &trail, Schema::new(vec![Field::new("Records", records, true)]))
}

fn measure(name: &str, input: &[u8], schema: Schema) -> Result<()> {
    let mut best = f64::MAX;
    let mut rows = 0;
    for _ in 0..5 {
        let options = JsonReadOptions::new(&Options::new(), Zone::UTC)?;
        let mut decoder = JsonDecoder::new(&schema, options, DecodeSettings::default())?;
        let begin = Instant::now();
        decoder.begin(name);
        let mut sink = |batch: arrow::array::RecordBatch| {
            std::hint::black_box(&batch);
            Ok(())
        };
        for piece in input.chunks(1 << 20) {
            decoder.push(piece, &mut sink)?;
        }
        decoder.end(&mut sink)?;
        decoder.flush(&mut sink)?;
        best = best.min(begin.elapsed().as_secs_f64());
        rows = decoder.counts().rows;
    }
    println!("{name:24} {:8.0} MB/s {:8.2} M rows/s", input.len() as f64 / best / 1e6, rows as f64 / best / 1e6);
    Ok(())
}

/// A small generator with a fixed seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", a >> 32, a >> 16 & 0xffff, a & 0xffff, b >> 48, b & 0xffff_ffff_ffff)
    }
}

fn ad_events(n: usize) -> Vec<u8> {
    let mut random = Random(42);
    let mut out = String::new();
    for i in 0..n {
        let kind = ["view", "click", "purchase"][random.next() as usize % 3];
        out.push_str(&format!(
            "{{\"user_id\": \"{}\", \"page_id\": \"{}\", \"ad_id\": \"{}\", \"ad_type\": \"banner\", \"event_type\": \"{kind}\", \"event_time\": {}, \"ip_address\": \"10.0.{}.{}\", \"price\": {}.{:02}}}\n",
            random.uuid(),
            random.uuid(),
            random.uuid(),
            1_700_000_000_000_u64 + i as u64,
            random.next() % 256,
            random.next() % 256,
            random.next() % 100,
            random.next() % 100,
        ));
    }
    out.into_bytes()
}

fn audit_records(files: usize, per_file: usize) -> Vec<u8> {
    let mut random = Random(7);
    let mut out = String::new();
    for _ in 0..files {
        out.push_str("{\"Records\":[");
        for i in 0..per_file {
            if i > 0 {
                out.push(',');
            }
            out.push_str(&format!(
                "{{\"eventVersion\":\"1.08\",\"userIdentity\":{{\"type\":\"AssumedRole\",\"principalId\":\"{}\",\"arn\":\"arn:aws:sts::123456789012:assumed-role/app/{}\",\"accountId\":\"123456789012\",\"accessKeyId\":\"ASIAIOSFODNN7EXAMPLE\",\"sessionContext\":{{\"sessionIssuer\":{{\"type\":\"Role\",\"principalId\":\"AROAIDPPEZS35WEXAMPLE\",\"arn\":\"arn:aws:iam::123456789012:role/app\",\"accountId\":\"123456789012\",\"userName\":\"app\"}},\"attributes\":{{\"creationDate\":\"2026-01-01T00:00:00Z\",\"mfaAuthenticated\":\"false\"}}}}}},\"eventTime\":\"2026-01-02T{:02}:{:02}:{:02}Z\",\"eventSource\":\"s3.amazonaws.com\",\"eventName\":\"GetObject\",\"awsRegion\":\"eu-central-1\",\"sourceIPAddress\":\"10.0.0.{}\",\"userAgent\":\"[aws-sdk-java/1.11.1 Linux/4.14 OpenJDK_64-Bit_Server_VM/25.2 java/1.8]\",\"requestParameters\":{{\"bucketName\":\"logs\",\"Host\":\"logs.s3.eu-central-1.amazonaws.com\",\"key\":\"a/b/{}\"}},\"responseElements\":null,\"additionalEventData\":{{\"SignatureVersion\":\"SigV4\",\"CipherSuite\":\"ECDHE-RSA-AES128-GCM-SHA256\",\"bytesTransferredIn\":0,\"AuthenticationMethod\":\"AuthHeader\",\"x-amz-id-2\":\"{}\",\"bytesTransferredOut\":{}}},\"requestID\":\"{}\",\"eventID\":\"{}\",\"readOnly\":true,\"resources\":[{{\"type\":\"AWS::S3::Object\",\"ARN\":\"arn:aws:s3:::logs/a/b\"}},{{\"accountId\":\"123456789012\",\"type\":\"AWS::S3::Bucket\",\"ARN\":\"arn:aws:s3:::logs\"}}],\"eventType\":\"AwsApiCall\",\"managementEvent\":false,\"recipientAccountId\":\"123456789012\",\"eventCategory\":\"Data\"}}",
                random.uuid(), random.uuid(), random.next() % 24, random.next() % 60, random.next() % 60, random.next() % 256, random.uuid(), random.uuid(), random.next() % 100_000, random.uuid(), random.uuid(),
            ));
        }
        out.push_str("]}\n");
    }
    out.into_bytes()
}
