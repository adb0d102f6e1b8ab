#!/usr/bin/env python3
"""Deterministic data for the benchmarks.

Every value is a pure function of (seed, column, row) through splitmix64, so a
seed gives the same bytes on every machine, and any language can rebuild them.
File sources order files by modification time, so files are stamped one second
apart.

  gen.py OUT cloudtrail  --seed 42 --files 2000 --rows 200000
      gzipped CloudTrail: one object {"Records": [...]} per file, nested, about
      1.3 kB a record, over four days
  gen.py OUT events --seed 42 --files 8 --rows 4000000
      the events of the Yahoo streaming benchmark: flat JSON lines of strings,
      254 bytes a row, 1,000 ads, 10,000 users, 10,000 events per second
  gen.py OUT ysb-json | ysb-parquet  --seed 42 --files 20 --rows 10000000
      the same events in OUT/events, and the campaign of each ad in OUT/campaigns (CSV)
  gen.py OUT hashtags --seed 42 --files 15 --rows 5000000
      JSON lines (ts in milliseconds, tag): 10,000 tags, Zipf 1.0, 5,555 rows per second
  gen.py OUT hashtags-1s --seed 42 --files 12 --rows 720000
      the same at 1,000 rows per second
  gen.py OUT keys-10k | keys-1m --seed 42 --files 10 --rows 5000000
      JSON lines (key, v): 10,000 or 1,000,000 keys, all equally often
  gen.py OUT keys-uniform | keys-zipf --seed 42 --files 400 --rows 80000000
      Parquet (key of 16 characters, v): half as many keys as rows, all equally often; as many keys as rows, the k-th by 1/k
  gen.py OUT ids --seed 42 --files 100 --rows 10000000
      JSON lines (id, ts in milliseconds): ids of 36 characters, no two the same, 10,000 rows per second
"""
import argparse
import gzip
import json
import os
import time

import numpy as np

U64 = np.uint64
MASK = (1 << 64) - 1
MTIME0 = 1_700_000_000
T0_MS = 1_700_000_000_000  # first event time


def column(seed, stream, start, n):
    """splitmix64 of (seed, stream, row) for rows start .. start + n."""
    base = (seed * 0xD1342543DE82EF95 + stream * 0xA0761D6478BD642F) & MASK
    with np.errstate(over="ignore"):
        z = (np.arange(start, start + n, dtype=U64) + U64(1)) * U64(0x9E3779B97F4A7C15) + U64(base)
        z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
        return z ^ (z >> U64(31))


def uuids(seed, stream, n):
    out = []
    for x, y in zip(column(seed, stream, 0, n).tolist(), column(seed, stream + 1, 0, n).tolist()):
        s = f"{x:016x}{y:016x}"
        out.append(f"{s[:8]}-{s[8:12]}-4{s[13:16]}-a{s[17:20]}-{s[20:]}")
    return out


def write(path, file_idx, data):
    with open(path, "wb") as f:
        f.write(data)
    os.utime(path, (MTIME0 + file_idx, MTIME0 + file_idx))


def write_parquet(path, file_idx, columns, select="*"):
    import duckdb

    db = duckdb.connect()
    db.register("t", columns)
    db.execute(f"copy (select {select} from t) to '{path}' (format parquet, compression snappy, row_group_size 131072)")
    os.utime(path, (MTIME0 + file_idx, MTIME0 + file_idx))


def event_columns(a, k, users, pages, ads):
    """The columns of file k."""
    per = a.rows // a.files
    types, actions = np.array(TYPES), np.array(ACTIONS)

    def pick(stream, values):
        return values[(column(a.seed, stream, k * per, per) % U64(len(values))).astype(np.int64)]

    rows = np.arange(k * per, (k + 1) * per, dtype=U64)
    ms = T0_MS + (rows // U64(10)).astype(np.int64) + (column(a.seed, 25, k * per, per) % U64(50)).astype(np.int64)
    return {
        "user_id": pick(20, users), "page_id": pick(21, pages), "ad_id": pick(22, ads), "ad_type": pick(23, types),
        "event_type": pick(24, actions), "event_time": ms.astype(str), "ip_address": np.full(per, "1.2.3.4"),
    }


def ysb(a, write_file):
    users, pages, ads = (np.array(uuids(a.seed, stream, n)) for stream, n in ((10, 10_000), (12, 100), (14, 1000)))
    campaigns = uuids(a.seed, 16, 100)
    os.makedirs(os.path.join(a.out, "campaigns"))
    os.makedirs(os.path.join(a.out, "events"))
    lines = [f"{ad},{campaigns[i // 10]}\n" for i, ad in enumerate(ads.tolist())]
    write(os.path.join(a.out, "campaigns", "campaigns.csv"), 0, "".join(lines).encode())
    for k in range(a.files):
        write_file(os.path.join(a.out, "events"), k, event_columns(a, k, users, pages, ads))


def ysb_json(a):
    def write_file(folder, k, columns):
        names = list(columns)
        rows = zip(*(columns[name].tolist() for name in names))
        lines = ["{" + ", ".join(f'"{name}": "{value}"' for name, value in zip(names, row)) + "}\n" for row in rows]
        write(os.path.join(folder, f"part-{k:05d}.json"), k, "".join(lines).encode())

    ysb(a, write_file)


def ysb_parquet(a):
    def write_file(folder, k, columns):
        table = {name: values.astype(object) for name, values in columns.items()}
        write_parquet(os.path.join(folder, f"part-{k:05d}.parquet"), k, table)

    ysb(a, write_file)


def hashtags(a, rows_per_second):
    n_tags = 10_000
    weights = 1.0 / np.arange(1, n_tags + 1)
    share = np.cumsum(weights) / weights.sum()
    per = a.rows // a.files
    for k in range(a.files):
        unit = (column(a.seed, 40, k * per, per) >> U64(11)).astype(np.float64) * (1.0 / (1 << 53))
        tags = np.minimum(np.searchsorted(share, unit), n_tags - 1)
        ms = T0_MS + np.arange(k * per, (k + 1) * per, dtype=np.int64) * 1000 // rows_per_second
        lines = [f'{{"ts": {t}, "tag": "#tag{tag:05d}"}}\n' for t, tag in zip(ms.tolist(), tags.tolist())]
        write(os.path.join(a.out, f"part-{k:05d}.json"), k, "".join(lines).encode())


def keys(a, n_keys):
    per = a.rows // a.files
    for k in range(a.files):
        key = (column(a.seed, 50, k * per, per) % U64(n_keys)).tolist()
        v = (column(a.seed, 51, k * per, per) % U64(1000)).tolist()
        lines = [f'{{"key": "user-{key:07d}", "v": {v}}}\n' for key, v in zip(key, v)]
        write(os.path.join(a.out, f"part-{k:05d}.json"), k, "".join(lines).encode())


def many_keys(a, rank):
    """Parquet; rank gives the numbers of keys from numbers in [0, 1)."""
    per = a.rows // a.files
    for k in range(a.files):
        unit = (column(a.seed, 50, k * per, per) >> U64(11)).astype(np.float64) * (1.0 / (1 << 53))
        table = {"rank": rank(unit).astype(np.int64), "v": (column(a.seed, 51, k * per, per) % U64(1000)).astype(np.int64)}
        write_parquet(os.path.join(a.out, f"part-{k:05d}.parquet"), k, table, "printf('user-%011d', rank) as key, v")


def keys_uniform(a):
    many_keys(a, lambda unit: unit * (a.rows // 2))


def keys_zipf(a):
    # Where 1/k is the density, what lies below k is ln(k) / ln(n).
    many_keys(a, lambda unit: np.exp(unit * np.log(a.rows)))


def ids(a):
    per = a.rows // a.files
    for k in range(a.files):
        high, low = (column(a.seed, stream, k * per, per).tolist() for stream in (50, 51))
        lines = [f'{{"id": "{x:016x}-{y:016x}-id", "ts": {T0_MS + (k * per + n) // 10}}}\n' for n, (x, y) in enumerate(zip(high, low))]
        write(os.path.join(a.out, f"part-{k:05d}.json"), k, "".join(lines).encode())


def window_length(a):
    """Few tags, so that a slide gives few rows beside those that it takes."""
    per = a.rows // a.files
    names = np.array([f"#tag{tag:05d}" for tag in range(1000)]).astype(object)
    for k in range(a.files):
        ms = T0_MS + np.arange(k * per, (k + 1) * per, dtype=np.int64) * 1000 // (5_000_000 // 900)
        table = {"ts": ms, "tag": names[(column(a.seed, 41, k * per, per) % U64(1000)).astype(np.int64)]}
        write_parquet(os.path.join(a.out, f"part-{k:05d}.parquet"), k, table)


TYPES = ["banner", "modal", "sponsored-search", "mail", "mobile"]
ACTIONS = ["view", "click", "purchase"]


def events(a):
    users, pages, ads = uuids(a.seed, 10, 10_000), uuids(a.seed, 12, 100), uuids(a.seed, 14, 1000)
    types, actions = TYPES, ACTIONS
    per = a.rows // a.files
    for k in range(a.files):
        def pick(stream, n):
            return (column(a.seed, stream, k * per, per) % U64(n)).tolist()

        rows = np.arange(k * per, (k + 1) * per, dtype=U64)
        ms = T0_MS + (rows // U64(10)).astype(np.int64) + (column(a.seed, 25, k * per, per) % U64(50)).astype(np.int64)
        lines = [
            f'{{"user_id": "{users[u]}", "page_id": "{pages[p]}", "ad_id": "{ads[d]}", "ad_type": "{types[t]}", '
            f'"event_type": "{actions[e]}", "event_time": "{m}", "ip_address": "1.2.3.4"}}\n'
            for u, p, d, t, e, m in zip(pick(20, 10_000), pick(21, 100), pick(22, 1000), pick(23, 5), pick(24, 3), ms.tolist())
        ]
        write(os.path.join(a.out, f"part-{k:05d}.json"), k, "".join(lines).encode())


SERVICES = {
    "s3.amazonaws.com": ["GetObject", "PutObject", "ListObjects", "HeadBucket", "DeleteObject"],
    "ec2.amazonaws.com": ["DescribeInstances", "RunInstances", "DescribeSecurityGroups", "TerminateInstances"],
    "sts.amazonaws.com": ["AssumeRole", "GetCallerIdentity"],
    "kms.amazonaws.com": ["Decrypt", "GenerateDataKey"],
    "iam.amazonaws.com": ["GetRole", "ListUsers", "CreateAccessKey"],
    "logs.amazonaws.com": ["CreateLogStream", "PutLogEvents"],
    "dynamodb.amazonaws.com": ["GetItem", "Query", "PutItem"],
}
REGIONS = ["us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-2"]
AGENTS = ["aws-cli/2.15.30 Python/3.11.8 Linux/5.10", "Boto3/1.34.69 md/Botocore#1.34.69",
          "aws-sdk-java/1.12.681 Linux/5.10 OpenJDK_64-Bit", "console.amazonaws.com",
          "Terraform/1.7.5 (+https://www.terraform.io)", "s3.amazonaws.com"]


def iso(second):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def record(x, second):
    """One CloudTrail record; x: twenty 64-bit integers."""
    source = list(SERVICES)[x[0] % len(SERVICES)]
    service = source.split(".")[0]
    name = SERVICES[source][x[1] % len(SERVICES[source])]
    account = str(100000000000 + x[2] % 40 * 7919)
    user, role = f"user{x[3] % 500:03d}", f"app-role-{x[3] % 50}"
    region = REGIONS[x[4] % len(REGIONS)]
    kind = x[5] % 10
    if kind < 6:
        identity = {"type": "AssumedRole", "principalId": f"AROA{x[6]:016X}:{user}",
                    "arn": f"arn:aws:sts::{account}:assumed-role/{role}/{user}", "accountId": account,
                    "accessKeyId": f"ASIA{x[7]:016X}",
                    "sessionContext": {
                        "sessionIssuer": {"type": "Role", "principalId": f"AROA{x[6]:016X}",
                                          "arn": f"arn:aws:iam::{account}:role/{role}", "accountId": account, "userName": role},
                        "attributes": {"creationDate": iso(second - x[8] % 3600), "mfaAuthenticated": "false"}}}
    elif kind < 9:
        identity = {"type": "IAMUser", "principalId": f"AIDA{x[6]:016X}", "arn": f"arn:aws:iam::{account}:user/{user}",
                    "accountId": account, "accessKeyId": f"AKIA{x[7]:016X}", "userName": user}
    else:
        identity = {"type": "AWSService", "invokedBy": "autoscaling.amazonaws.com"}
    if service == "s3":
        request = {"bucketName": f"bucket-{x[9] % 300}", "key": f"logs/{x[10]:x}/part-{x[11] % 999:05d}.gz",
                   "Host": f"bucket-{x[9] % 300}.s3.{region}.amazonaws.com"}
    elif service == "ec2":
        items = [{"instanceId": f"i-{(x[10] + j) % (1 << 60):017x}"} for j in range(x[11] % 4 + 1)]
        request = {"instancesSet": {"items": items}, "filterSet": {}}
    elif service == "sts":
        request = {"roleArn": f"arn:aws:iam::{account}:role/app-role-{x[9] % 50}", "roleSessionName": user, "durationSeconds": 3600}
    elif service == "dynamodb":
        request = {"tableName": f"table-{x[9] % 80}", "key": {"pk": f"id#{x[10] % 1000000}"}, "consistentRead": bool(x[11] & 1)}
    elif service == "kms":
        request = {"encryptionContext": {"aws:s3:arn": f"arn:aws:s3:::bucket-{x[9] % 300}/{x[10]:x}"},
                   "encryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    else:
        request = {"name": f"res-{x[9] % 900}", "limit": x[10] % 100}
    out = {"eventVersion": "1.09", "userIdentity": identity, "eventTime": iso(second), "eventSource": source, "eventName": name,
           "awsRegion": region, "sourceIPAddress": f"10.{x[13] % 256}.{x[13] // 256 % 256}.{x[13] // 65536 % 254 + 1}",
           "userAgent": AGENTS[x[14] % len(AGENTS)]}
    if x[12] % 20 == 0:
        out["errorCode"] = "AccessDenied"
        out["errorMessage"] = f"User: {identity.get('arn', 'service')} is not authorized to perform: {service}:{name}"
    out["requestParameters"] = request if x[15] % 8 else None
    out["responseElements"] = None if x[16] % 3 else {"x-amz-request-id": f"{x[10]:016X}", "status": "ok"}
    out["additionalEventData"] = {"SignatureVersion": "SigV4", "CipherSuite": "TLS_AES_128_GCM_SHA256",
                                  "bytesTransferredIn": x[17] % 1000, "bytesTransferredOut": x[17] // 1000 % 100000}
    out["requestID"] = f"{x[18]:016X}"
    out["eventID"] = f"{x[19] >> 32:08x}-{x[19] >> 16 & 0xffff:04x}-4{x[19] & 0xfff:03x}-a{x[18] & 0xfff:03x}-{x[10] & 0xffffffffffff:012x}"
    out["readOnly"] = name.startswith(("Get", "List", "Describe", "Head", "Query"))
    resource = {"ARN": f"arn:aws:{service}:{region}:{account}:res/{x[9] % 900}", "accountId": account,
                "type": f"AWS::{service.upper()}::Resource"}
    out["resources"] = [resource] if x[16] % 2 else []
    out["eventType"] = "AwsApiCall"
    out["managementEvent"] = service != "s3"
    out["recipientAccountId"] = account
    out["eventCategory"] = "Data" if service == "s3" else "Management"
    out["tlsDetails"] = {"tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256",
                         "clientProvidedHostHeader": f"{service}.{region}.amazonaws.com"}
    return out


def cloudtrail(a):
    per, span = a.rows // a.files, 4 * 86400
    for k in range(a.files):
        cols = [column(a.seed, 60 + s, k * per, per).tolist() for s in range(20)]
        start = T0_MS // 1000 + k * span // a.files
        records = [record(x, start + j * span // (a.files * per)) for j, x in enumerate(zip(*cols))]
        text = json.dumps({"Records": records}, separators=(",", ":")).encode() + b"\n"
        write(os.path.join(a.out, f"trail-{k:05d}.json.gz"), k, gzip.compress(text, 6, mtime=0))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    kinds = {
        "cloudtrail": cloudtrail, "events": events, "ysb-json": ysb_json, "ysb-parquet": ysb_parquet,
        "hashtags": lambda a: hashtags(a, 5_000_000 // 900), "hashtags-1s": lambda a: hashtags(a, 1000),
        "window-length": window_length,
        "keys-10k": lambda a: keys(a, 10_000), "keys-1m": lambda a: keys(a, 1_000_000),
        "keys-uniform": keys_uniform, "keys-zipf": keys_zipf,
        "ids": ids,
    }
    p.add_argument("what", choices=list(kinds))
    p.add_argument("--seed", type=int, default=42)
    p.add_argument("--files", type=int, required=True)
    p.add_argument("--rows", type=int, required=True)
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    kinds[a.what](a)


if __name__ == "__main__":
    main()
