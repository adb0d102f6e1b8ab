-- The input of queries.jsonl. Written by hand; plain enough that any engine with Spark's SQL can create them.
CREATE TEMPORARY VIEW people AS SELECT * FROM VALUES
  (1, 'Ann', 34, 'eng', CAST(5200.50 AS DECIMAL(10,2))),
  (2, 'Bob', 45, 'ops', CAST(4100.00 AS DECIMAL(10,2))),
  (3, 'Cid', NULL, 'eng', CAST(NULL AS DECIMAL(10,2))),
  (4, 'Dee', 29, NULL, CAST(3900.25 AS DECIMAL(10,2))),
  (5, 'Bob', 51, 'ops', CAST(4100.00 AS DECIMAL(10,2))),
  (6, NULL, 34, 'eng', CAST(7000.00 AS DECIMAL(10,2)))
  AS t(id, firstName, age, deptCode, salary);

CREATE TEMPORARY VIEW depts AS SELECT * FROM VALUES
  ('eng', 'Engineering', 3),
  ('ops', 'Operations', 1),
  ('hr', 'People', NULL),
  (NULL, 'Nowhere', 9)
  AS t(deptCode, deptName, floorNo);

CREATE TEMPORARY VIEW nums AS SELECT * FROM VALUES
  (1), (2), (2), (3), (NULL), (5)
  AS t(v);

CREATE TEMPORARY VIEW pairs AS SELECT * FROM VALUES
  ('a', 1, 1.5D), ('a', 2, double('NaN')), ('b', NULL, 2.5D), ('b', 4, NULL), (NULL, 5, 0.5D), ('c', NULL, NULL), ('a', 2, 1.5D)
  AS t(k, v, d);

CREATE TEMPORARY VIEW events AS SELECT * FROM VALUES
  (1, TIMESTAMP'2024-03-01 10:00:00', 'login', named_struct('userName', 'ann', 'arn', 'arn:1', 'geo', named_struct('city', 'Bonn', 'lat', 50.7D)), array('x', 'y'), map('ip', '10.0.0.1', 'mfa', 'true')),
  (2, TIMESTAMP'2024-03-01 23:59:59.999999', 'logout', named_struct('userName', 'bob', 'arn', NULL, 'geo', NULL), array(), map()),
  (3, TIMESTAMP'2024-03-02 00:00:00', 'login', named_struct('userName', 'ann', 'arn', 'arn:3', 'geo', named_struct('city', NULL, 'lat', 0.0D)), NULL, NULL),
  (4, NULL, NULL, NULL, array('y', NULL, 'y'), map('ip', NULL)),
  (5, TIMESTAMP'2024-03-02 12:30:00', 'put', named_struct('userName', 'cid', 'arn', 'arn:5', 'geo', named_struct('city', 'Rom', 'lat', 41.9D)), array('z'), map('ip', '10.0.0.5'))
  AS t(eventId, eventTime, eventName, userIdentity, tags, attrs);

CREATE TEMPORARY VIEW batches AS SELECT * FROM VALUES
  ('f1', array(named_struct('eventName', 'Get', 'n', 1), named_struct('eventName', 'Put', 'n', 2))),
  ('f2', array(named_struct('eventName', 'Get', 'n', NULL))),
  ('f3', array()),
  ('f4', NULL)
  AS t(file, Records);

CREATE TEMPORARY VIEW left_t AS SELECT * FROM VALUES (1, 'l1'), (2, 'l2'), (2, 'l2b'), (NULL, 'ln'), (4, 'l4') AS t(id, lv);

CREATE TEMPORARY VIEW right_t AS SELECT * FROM VALUES (2, 'r2'), (2, 'r2b'), (3, 'r3'), (NULL, 'rn'), (4, NULL) AS t(id, rv);
