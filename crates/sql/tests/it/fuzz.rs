//! No text may make the parser panic or overflow the stack.

use millstream_sql::{parse_data_type, parse_expression, parse_interval, parse_query, parse_schema, parse_script};

fn corpus() -> Vec<String> {
    include_str!("../../gold/parser.txt").lines().filter_map(|l| l.split_once('|')).map(|(_, t)| t.to_owned()).collect()
}

fn all_doors(text: &str) {
    let refusals = [
        parse_script(text).err(),
        parse_query(text).err(),
        parse_expression(text).err(),
        parse_data_type(text).err(),
        parse_schema(text).err(),
        parse_interval(text).err(),
    ];
    for error in refusals.iter().flatten() {
        assert!(!error.render(text).is_empty());
    }
}

/// A small generator with a fixed seed (xorshift), so that a failure repeats.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

#[test]
fn mutated_texts_never_panic() {
    let corpus = corpus();
    let mut chance = Chance(0x5eed_1234_5678_9abc);
    let odd: &[&[u8]] = &[
        b"(",
        b")",
        b"'",
        b"\"",
        b"`",
        b"/*",
        b"*/",
        b"--",
        b";",
        b"\\",
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xe2\x82\xac",
        b"\n",
        b" ",
        b".",
        b"1e",
        b"<",
        b">",
    ];
    for round in 0..6_000 {
        let mut bytes = corpus[round % corpus.len()].clone().into_bytes();
        for _ in 0..=chance.below(3) {
            let at = chance.below(bytes.len() + 1);
            match chance.below(5) {
                0 => bytes.truncate(at),
                1 => drop(bytes.splice(at..at, odd[chance.below(odd.len())].iter().copied())),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 if at < bytes.len() => bytes[at] = (chance.below(256)) as u8,
                _ => {
                    let other = corpus[chance.below(corpus.len())].as_bytes();
                    let cut = chance.below(other.len() + 1);
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[cut..]);
                }
            }
        }
        all_doors(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn deep_texts_are_refused_and_do_not_overflow_the_stack() {
    let n = 10_000;
    let deep = [
        format!("{}1{}", "(".repeat(n), ")".repeat(n)),
        "(".repeat(n),
        format!("{}a", "NOT ".repeat(n)),
        format!("{}a", "- ".repeat(n)),
        format!("{}a", "~".repeat(n)),
        format!("{}1{}", "f(".repeat(n), ")".repeat(n)),
        format!("{}1{}", "a[".repeat(n), "]".repeat(n)),
        format!("{}1{}", "CASE WHEN ".repeat(n), " THEN 1 END".repeat(n)),
        "x -> ".repeat(n),
        format!("SELECT {}1{}", "(SELECT ".repeat(n), ")".repeat(n)),
        format!("SELECT * FROM {}t{}", "(".repeat(n), ")".repeat(n)),
        format!("SELECT * FROM {}SELECT 1{}", "(SELECT * FROM (".repeat(n), "))".repeat(n)),
        format!("{}SELECT 1{}", "WITH a AS (".repeat(n), ") SELECT 1".repeat(n)),
        format!("{}SELECT 1{}", "(".repeat(n), ")".repeat(n)),
        format!("{}SELECT 1", "EXPLAIN ".repeat(n)),
        format!("{}int{}", "array<".repeat(n), ">".repeat(n)),
        format!("{}int{}", "struct<a: ".repeat(n), ">".repeat(n)),
        format!("CAST(1 AS {}int{})", "array<".repeat(n), ">".repeat(n)),
        format!("a{}", " + a".repeat(n)),
        format!("a{}", " = a".repeat(n)),
        format!("a{}", "[0]".repeat(n)),
        format!("f(x){}", ".a".repeat(n)),
        format!("a{}", "::int".repeat(n)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(n)),
        format!("SELECT * FROM t{}", " JOIN t".repeat(n)),
        format!("SELECT * FROM t{}", ", t".repeat(n)),
        format!("SELECT * FROM t{}", " LATERAL VIEW explode(a) b".repeat(n)),
        format!("GROUP BY {}", "GROUPING SETS (".repeat(n)),
        format!("SELECT a FROM t GROUP BY {}", "GROUPING SETS (".repeat(n)),
        "/*".repeat(n),
        format!("{}{}", "/*".repeat(n), "*/".repeat(n)),
    ];
    for text in &deep {
        drop((parse_script(text), parse_expression(text), parse_data_type(text)));
    }
    assert!(parse_expression(&deep[0]).unwrap_err().to_string().contains("nested more than"));
}

#[test]
fn the_deepest_allowed_texts_fit_a_small_stack() {
    // tokio's workers have 2 MiB, and others stand on the stack already.
    let run = || {
        let n = 240;
        let nested = format!("{}1{}", "1 = 1 | 1 ^ 1 & 1 << 1 + 1 * (".repeat(n / 8), ")".repeat(n / 8));
        parse_expression(&nested).unwrap();
        let cases = format!("{}1{}", "CASE WHEN a IN (".repeat(n / 2), ") THEN 1 END".repeat(n / 2));
        parse_expression(&cases).unwrap();
        let queries = format!("{}SELECT 1{}", "SELECT * FROM (".repeat(n / 2), ") x".repeat(n / 2));
        parse_query(&queries).unwrap();
        let calls = format!("{}1{}", "trim(BOTH f(".repeat(n / 2), ") FROM a)".repeat(n / 2));
        parse_expression(&calls).unwrap();
    };
    std::thread::Builder::new().stack_size(3 << 19).spawn(run).unwrap().join().unwrap();
}

#[test]
fn long_conditions_are_taken() {
    let n = 20_000;
    let terms: Vec<String> = (0..n).map(|i| format!("a = {i}")).collect();
    assert!(parse_expression(&terms.join(" OR ")).is_ok());
    let list: Vec<String> = (0..n).map(|i| i.to_string()).collect();
    assert!(parse_expression(&format!("a IN ({})", list.join(", "))).is_ok());
}
