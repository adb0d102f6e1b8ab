"""The writer cases: (format, SQL of the table, options, extra). `extra`: partitionBy, conf."""

ALL_TYPES = """SELECT * FROM VALUES
  (true, 1Y, 2S, 3, 4L, 1.5F, 2.5D, CAST(1.10 AS DECIMAL(10,2)), 'text', X'01FF', DATE'2020-01-02', TIMESTAMP'2020-01-02 03:04:05.678', TIMESTAMP_NTZ'2020-01-02 03:04:05'),
  (false, -1Y, -2S, -3, -4L, -0.0F, 1e21D, CAST(-0.05 AS DECIMAL(10,2)), '', X'', DATE'0001-01-01', TIMESTAMP'1969-12-31 23:59:59.999999', TIMESTAMP_NTZ'2020-07-02 03:04:05.5'),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
  AS t(b, i8, i16, i32, i64, f, d, m, s, bin, dt, ts, ntz)"""
FLAT = ALL_TYPES.replace("SELECT *", "SELECT b, i8, i16, i32, i64, f, d, m, s, dt, ts, ntz")
NESTED = """SELECT * FROM VALUES
  (1, array(1, NULL, 3), map('k', 1, 'n', NULL), named_struct('x', 1, 'y', named_struct('z', 'deep')), array(named_struct('a', 1), NULL)),
  (2, array(), map(), named_struct('x', NULL, 'y', NULL), array()),
  (3, NULL, NULL, NULL, NULL)
  AS t(id, arr, m, st, structs)"""
STRINGS = r"""SELECT * FROM VALUES
  (1, 'plain'), (2, 'comma, semicolon; tab\tpipe|'), (3, 'quote " and \' single'), (4, 'back\\slash'), (5, 'line\nbreak'), (6, 'cr\r\nlf'),
  (7, ''), (8, NULL), (9, ' padded '), (10, 'ünï 😀'), (11, '/slash/ <tag> &'), (12, '\u0001\u001f\b\f'), (13, '"all quoted"'), (14, '#hash'), (15, 'null'), (16, '\\"both\\"'), (17, '\u2028')
  AS t(id, s)"""
FLOATS = """SELECT * FROM VALUES
  (1, double('NaN'), float('NaN')), (2, double('Infinity'), float('-Infinity')), (3, 1e-7D, 1e-7F), (4, 123456789.123D, 16777216F), (5, 1e7D, 1e7F), (6, 0.001D, 0.1F), (7, 100D, 1F), (8, -0.0D, float('3.4028235e38'))
  AS t(id, d, f)"""
DECIMALS = """SELECT CAST(1.5 AS DECIMAL(38,18)) AS a, CAST(0 AS DECIMAL(10,8)) AS b, CAST(1e-7 AS DECIMAL(20,10)) AS c, CAST(123 AS DECIMAL(5,0)) AS d, CAST('12345678901234567890' AS DECIMAL(38,0)) AS e"""
TIMES = """SELECT * FROM VALUES
  (1, TIMESTAMP'2020-01-02 03:04:05', DATE'2020-01-02'), (2, TIMESTAMP'2020-07-02 03:04:05.1', DATE'2020-12-31'), (3, TIMESTAMP'2020-01-02 03:04:05.123456', DATE'1900-01-01'),
  (4, TIMESTAMP'0001-01-01 00:00:00', DATE'9999-12-31'), (5, TIMESTAMP'1890-01-01 00:00:00', DATE'1582-10-15')
  AS t(id, ts, d)"""
PARTED = "SELECT * FROM VALUES (1, 'a', DATE'2020-01-02'), (2, 'a', NULL), (3, NULL, DATE'2020-01-02'), (4, 'b/c=d', DATE'2020-01-03'), (5, '', DATE'2020-01-03') AS t(v, k, day)"
STAMPED = "SELECT * FROM VALUES (1, TIMESTAMP'2024-03-01 10:00:00', 1.50D, true), (2, TIMESTAMP'2024-03-01 10:00:00.5', 2D, false) AS t(v, ts, d, b)"
INTERVALS = "SELECT INTERVAL '1 02:03:04' DAY TO SECOND AS dt, INTERVAL '1-2' YEAR TO MONTH AS ym"
EMPTY = "SELECT 1 AS a, 'x' AS b WHERE false"
NAMES = "SELECT 1 AS `a b`, 2 AS camelCase, 3 AS `x,y`, 4 AS `q\"r`"
BERLIN = {"spark.sql.session.timeZone": "Europe/Berlin"}

CASES = [
    ("json", ALL_TYPES, {}, {}),
    ("json", ALL_TYPES, {"ignoreNullFields": "false"}, {}),
    ("json", NESTED, {}, {}),
    ("json", NESTED, {"ignoreNullFields": "false"}, {}),
    ("json", STRINGS, {}, {}),
    ("json", STRINGS, {"writeNonAsciiCharacterAsCodePoint": "true"}, {}),
    ("json", FLOATS, {}, {}),
    ("json", DECIMALS, {}, {}),
    ("json", TIMES, {}, {}),
    ("json", TIMES, {}, {"conf": BERLIN}),
    ("json", TIMES, {"timeZone": "America/New_York"}, {}),
    ("json", TIMES, {"timestampFormat": "dd.MM.yyyy HH:mm:ss", "dateFormat": "dd/MM/yyyy"}, {}),
    ("json", ALL_TYPES, {"timestampNTZFormat": "yyyy/MM/dd HH:mm"}, {}),
    ("json", PARTED, {}, {"partitionBy": ["k", "day"]}),
    ("json", STAMPED, {}, {"partitionBy": ["ts"]}),
    ("json", STAMPED, {}, {"partitionBy": ["ts"], "conf": BERLIN}),
    ("json", STAMPED, {}, {"partitionBy": ["d", "b"]}),
    ("json", EMPTY, {}, {}),
    ("json", NAMES, {}, {}),
    ("json", "SELECT 1 AS a", {"lineSep": "|"}, {}),
    ("json", "SELECT 'ü' AS a", {"encoding": "UTF-16BE"}, {}),
    ("json", "SELECT 1 AS a", {"compression": "gzip"}, {}),
    ("json", INTERVALS, {}, {}),
    ("json", "SELECT 1 AS a, 2 AS a", {}, {}),
    ("json", "SELECT map(named_struct('k', 1), 2) AS m, map(1, 'x') AS n, map(DATE'2020-01-01', 1) AS o", {}, {}),
    ("json", "SELECT NULL AS v, 1 AS a", {}, {}),
    ("csv", FLAT, {}, {}),
    ("csv", FLAT, {"header": "true"}, {}),
    ("csv", FLAT, {"nullValue": "NULL", "emptyValue": "EMPTY"}, {}),
    ("csv", STRINGS, {}, {}),
    ("csv", STRINGS, {"quoteAll": "true"}, {}),
    ("csv", STRINGS, {"escape": '"'}, {}),
    ("csv", STRINGS, {"sep": ";", "quote": "'"}, {}),
    ("csv", STRINGS, {"quote": ""}, {}),
    ("csv", STRINGS, {"escapeQuotes": "false"}, {}),
    ("csv", STRINGS, {"ignoreLeadingWhiteSpace": "false", "ignoreTrailingWhiteSpace": "false"}, {}),
    ("csv", STRINGS, {"emptyValue": "", "nullValue": "-"}, {}),
    ("csv", STRINGS, {"comment": "#"}, {}),
    ("csv", FLOATS, {}, {}),
    ("csv", DECIMALS, {}, {}),
    ("csv", TIMES, {}, {}),
    ("csv", TIMES, {}, {"conf": BERLIN}),
    ("csv", TIMES, {"timestampFormat": "dd.MM.yyyy HH:mm:ss", "dateFormat": "dd/MM/yyyy"}, {}),
    ("csv", NAMES, {"header": "true"}, {}),
    ("csv", EMPTY, {"header": "true"}, {}),
    ("csv", EMPTY, {}, {}),
    ("csv", PARTED, {"header": "true"}, {"partitionBy": ["day"]}),
    ("csv", "SELECT 1 AS a, 'x' AS b", {"sep": "||"}, {}),
    ("csv", "SELECT 1 AS a, 'x' AS b", {"lineSep": "|"}, {}),
    ("csv", "SELECT 'ü' AS a", {"encoding": "ISO-8859-1"}, {}),
    ("csv", "SELECT 1 AS a", {"compression": "gzip", "header": "true"}, {}),
    ("csv", NESTED, {}, {}),
    ("csv", "SELECT X'0102' AS b", {}, {}),
    ("csv", INTERVALS, {}, {}),
    ("text", "SELECT s FROM VALUES ('one'), (NULL), (''), ('two\\nlines') AS t(s)", {}, {}),
    ("text", "SELECT s FROM VALUES ('one'), ('two') AS t(s)", {"lineSep": "|"}, {}),
    ("text", "SELECT 1 AS a", {}, {}),
    ("text", "SELECT 'x' AS a, 'y' AS b", {}, {}),
    ("text", "SELECT 'x' AS a, 'y' AS b", {}, {"partitionBy": ["b"]}),
    ("parquet", PARTED, {}, {"partitionBy": ["k", "day"]}),
    ("parquet", "SELECT 1 AS `a b`", {}, {}),
    ("parquet", "SELECT 1 AS a, 2 AS A", {}, {}),
    ("parquet", "SELECT 1 AS a", {"compression": "nonsense"}, {}),
    ("parquet", "SELECT NULL AS a", {}, {}),
    ("json", PARTED, {}, {"partitionBy": ["nope"]}),
    ("json", "SELECT 1 AS a", {}, {"partitionBy": ["a"]}),
    ("json", PARTED, {"mode": "x"}, {"partitionBy": ["K"]}),
]
