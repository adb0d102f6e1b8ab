//! A JSON scanner with Jackson's rules: tokens of a text, strings left where they are, values skipped without recursion.
//!
//! It looks at eight bytes at a time for the end of a string, checks everything it passes (also what is skipped), and
//! never builds a tree. Depth is bounded, so no input can overflow the stack.

/// The deepest nesting of objects and arrays, as Jackson's default.
pub(crate) const DEPTH_MAX: usize = 1000;
/// The longest number in characters, as Jackson's default.
const NUMBER_LENGTH_MAX: usize = 1000;

/// Why a text is no JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub why: &'static str,
    pub at: usize,
    /// It happened between a name and the first character of its value. There Jackson, asked to go on, says that the
    /// record is over, so that Spark keeps the fields read before.
    pub behind_name: bool,
}

impl Malformed {
    pub fn new(why: &'static str, at: usize) -> Self {
        Self { why, at, behind_name: false }
    }

    fn behind_name(mut self) -> Self {
        self.behind_name = true;
        self
    }

    /// The same where Spark keeps nothing.
    pub fn for_all(mut self) -> Self {
        self.behind_name = false;
        self
    }
}

/// Which departures from the JSON standard are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub comments: bool,
    pub single_quotes: bool,
    pub unquoted_names: bool,
    pub leading_zeros: bool,
    pub any_escape: bool,
    pub control_chars: bool,
    pub non_numeric_numbers: bool,
}

/// One token; scalars are whole, of containers only the opening bracket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Object,
    Array,
    Str(Text<'a>),
    /// Without fraction and exponent.
    Int(&'a str),
    /// With fraction or exponent, or `NaN`, `Infinity`, ...
    Float(&'a str),
    True,
    False,
    Null,
}

/// A string between its quotes, escapes not yet resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    pub raw: &'a str,
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// The string's value; `scratch` holds it if there were escapes.
    pub fn resolve<'b>(&self, scratch: &'b mut String) -> &'b str
    where
        'a: 'b,
    {
        if !self.escaped {
            return self.raw;
        }
        scratch.clear();
        unescape(self.raw, scratch);
        scratch
    }
}

/// The scanner over one record.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    depth: usize,
    /// Kinds of the containers open within a skipped value: whether each is an object.
    open: Vec<bool>,
    dialect: Dialect,
}

/// `a == b` for slices of the same length; names are short, and a call of `memcmp` costs more than they do.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    match a.len() {
        8..=16 => a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk(),
        17..=32 => a.first_chunk::<16>() == b.first_chunk() && a.last_chunk::<16>() == b.last_chunk(),
        _ => a == b,
    }
}

type Scan<T> = Result<T, Malformed>;

impl<'a> Scanner<'a> {
    pub fn new(dialect: Dialect) -> Self {
        Self { text: "", bytes: b"", pos: 0, depth: 0, open: Vec::new(), dialect }
    }

    /// Goes to another record.
    pub fn reset(&mut self, text: &'a str) {
        self.text = text;
        self.bytes = text.as_bytes();
        self.pos = 0;
        self.depth = 0;
    }

    pub fn pos(&self) -> usize {
        self.pos
    }

    /// Goes back to a position that [`Self::pos`] gave before a value, or forth again.
    pub fn rewind(&mut self, pos: usize) {
        self.pos = pos;
    }

    /// Goes back to behind the opening bracket of a container that was closed.
    pub fn reenter(&mut self, pos: usize) {
        self.pos = pos;
        self.depth += 1;
    }

    /// The text from `start` to here.
    pub fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.pos).unwrap_or_default()
    }

    /// Whether the record holds nothing but blanks and comments.
    pub fn is_blank(&mut self) -> bool {
        self.pos = 0;
        matches!(self.next_byte(), Err(Malformed { why: END, .. }))
    }

    #[inline]
    fn fail<T>(&self, why: &'static str) -> Scan<T> {
        Err(Malformed::new(why, self.pos))
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    /// The next byte that is not blank, not consumed.
    #[inline]
    fn next_byte(&mut self) -> Scan<u8> {
        loop {
            match self.bytes.get(self.pos) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.pos += 1,
                Some(b'/') if self.dialect.comments => self.skip_comment()?,
                Some(byte) => return Ok(*byte),
                None => return self.fail(END),
            }
        }
    }

    fn skip_comment(&mut self) -> Scan<()> {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let length = match rest.get(1) {
            Some(b'/') => memchr::memchr(b'\n', rest).unwrap_or(rest.len()),
            Some(b'*') => match memchr::memmem::find(rest.get(2..).unwrap_or_default(), b"*/") {
                Some(at) => at + 4,
                None => return self.fail("a comment is not closed"),
            },
            _ => return self.fail("unexpected '/'"),
        };
        self.pos += length;
        Ok(())
    }

    /// The next token.
    #[inline]
    pub fn token(&mut self) -> Scan<Token<'a>> {
        match self.next_byte()? {
            b'"' => {
                self.pos += 1;
                Ok(Token::Str(self.string(b'"')?))
            }
            b'{' => self.open_container().map(|()| Token::Object),
            b'[' => self.open_container().map(|()| Token::Array),
            b'0'..=b'9' | b'-' => self.number(),
            b't' => self.word("true", Token::True),
            b'f' => self.word("false", Token::False),
            b'n' => self.word("null", Token::Null),
            b'\'' if self.dialect.single_quotes => {
                self.pos += 1;
                Ok(Token::Str(self.string(b'\'')?))
            }
            b'N' | b'I' | b'+' => self.non_numeric(),
            _ => self.fail("unexpected character where a value should be"),
        }
    }

    /// The first token of a value behind its name.
    #[inline]
    pub fn member_token(&mut self) -> Scan<Token<'a>> {
        // Jackson reads strings only when asked for them: what is wrong with one shows later.
        let lazy = matches!(self.next_byte().map_err(Malformed::behind_name)?, b'"' | b'\'');
        self.token().map_err(|malformed| if lazy { malformed } else { malformed.behind_name() })
    }

    fn open_container(&mut self) -> Scan<()> {
        if self.depth >= DEPTH_MAX {
            return self.fail("nested deeper than 1000 levels");
        }
        self.depth += 1;
        self.pos += 1;
        Ok(())
    }

    fn word(&mut self, word: &'static str, token: Token<'a>) -> Scan<Token<'a>> {
        let end = self.pos + word.len();
        let follows = self.bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'));
        if self.bytes.get(self.pos..end) != Some(word.as_bytes()) || follows {
            return self.fail("unknown word");
        }
        self.pos = end;
        Ok(token)
    }

    fn non_numeric(&mut self) -> Scan<Token<'a>> {
        const WORDS: [&str; 6] = ["NaN", "Infinity", "+Infinity", "-Infinity", "+INF", "-INF"];
        if self.dialect.non_numeric_numbers {
            let start = self.pos;
            for word in WORDS {
                if self.word(word, Token::Null).is_ok() {
                    return Ok(Token::Float(self.since(start)));
                }
            }
        }
        self.fail("unknown word")
    }

    fn number(&mut self) -> Scan<Token<'a>> {
        let start = self.pos;
        if self.byte() == Some(b'-') {
            self.pos += 1;
            if self.byte() == Some(b'I') {
                self.pos = start;
                return self.non_numeric();
            }
        }
        let first = self.pos;
        self.digits();
        let digits = self.pos - first;
        if digits == 0 {
            return self.fail("a number without digits");
        }
        if digits > 1 && self.bytes.get(first) == Some(&b'0') && !self.dialect.leading_zeros {
            return self.fail("a number with leading zeros");
        }
        let mut float = false;
        if self.byte() == Some(b'.') {
            float = true;
            self.pos += 1;
            let before = self.pos;
            self.digits();
            if self.pos == before {
                return self.fail("a number without digits behind the point");
            }
        }
        if let Some(b'e' | b'E') = self.byte() {
            float = true;
            self.pos += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.pos += 1;
            }
            let before = self.pos;
            self.digits();
            if self.pos == before {
                return self.fail("a number without digits in the exponent");
            }
        }
        if self.pos - start > NUMBER_LENGTH_MAX {
            return self.fail("a number of more than 1000 characters");
        }
        let text = self.since(start);
        Ok(if float { Token::Float(text) } else { Token::Int(text) })
    }

    #[inline]
    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.byte() {
            self.pos += 1;
        }
    }

    /// From behind the opening quote to behind the closing one.
    #[inline]
    fn string(&mut self, quote: u8) -> Scan<Text<'a>> {
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.pos = find_special(self.bytes, self.pos, quote);
            match self.byte() {
                Some(byte) if byte == quote => {
                    let raw = self.since(start);
                    self.pos += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) if self.dialect.control_chars => self.pos += 1,
                Some(_) => return self.fail("a control character within a string"),
                None => return self.fail("a string is not closed"),
            }
        }
    }

    /// Checks the escape here and goes behind it.
    fn escape(&mut self) -> Scan<()> {
        match self.bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.pos += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.pos + 2..self.pos + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.fail("a \\u escape without four hex digits");
                }
                self.pos += 6;
            }
            Some(b'\'') if self.dialect.single_quotes => self.pos += 2,
            // Of a longer character only the first byte: the others are passed like any text.
            Some(_) if self.dialect.any_escape => self.pos += 2,
            _ => return self.fail("an unknown escape"),
        }
        Ok(())
    }

    /// Behind the opening brace or a member of an object: the next name and the colon, or `None` behind the end.
    #[inline]
    pub fn next_name(&mut self, first: bool) -> Scan<Option<Text<'a>>> {
        if self.closes(b'}', first)? {
            return Ok(None);
        }
        let name = self.name()?;
        self.colon().map_err(Malformed::behind_name)?;
        Ok(Some(name))
    }

    /// If the next member's name is `quoted` (`"name":`), goes behind it. For members that come in an expected order.
    #[inline]
    pub fn expect_name(&mut self, quoted: &[u8], first: bool) -> bool {
        let mut at = self.pos;
        if !first {
            if self.bytes.get(at) != Some(&b',') {
                return false;
            }
            at += 1;
            if self.bytes.get(at) == Some(&b' ') {
                at += 1;
            }
        }
        let end = at + quoted.len();
        let hit = self.bytes.get(at..end).is_some_and(|bytes| is_same(bytes, quoted));
        if hit {
            self.pos = end;
        }
        hit
    }

    /// Behind the opening bracket or an element of an array: whether there is another element.
    #[inline]
    pub fn next_element(&mut self, first: bool) -> Scan<bool> {
        Ok(!self.closes(b']', first)?)
    }

    /// Goes behind the closing bracket, or behind the comma before the next member.
    #[inline]
    fn closes(&mut self, bracket: u8, first: bool) -> Scan<bool> {
        let byte = self.next_byte()?;
        if byte == bracket {
            self.pos += 1;
            self.depth -= 1;
            return Ok(true);
        }
        if !first {
            if byte != b',' {
                return self.fail("expected a comma or the end of the object or array");
            }
            self.pos += 1;
        }
        Ok(false)
    }

    fn name(&mut self) -> Scan<Text<'a>> {
        match self.next_byte()? {
            b'"' => {
                self.pos += 1;
                self.string(b'"')
            }
            b'\'' if self.dialect.single_quotes => {
                self.pos += 1;
                self.string(b'\'')
            }
            _ if self.dialect.unquoted_names => {
                let start = self.pos;
                // Jackson's letters of names that need no quotes.
                while let Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | b'-' | b'@' | b'#' | b'*' | b'+') = self.byte() {
                    self.pos += 1;
                }
                if self.pos == start {
                    return self.fail("unexpected character where a name should be");
                }
                Ok(Text { raw: self.since(start), escaped: false })
            }
            _ => self.fail("unexpected character where a name should be"),
        }
    }

    #[inline]
    fn colon(&mut self) -> Scan<()> {
        if self.next_byte()? != b':' {
            return self.fail("expected a colon behind a name");
        }
        self.pos += 1;
        Ok(())
    }

    /// Skips a value.
    pub fn skip_value(&mut self) -> Scan<()> {
        let token = self.token()?;
        self.skip_rest(token)
    }

    /// Skips what is left of the value that began with `token`.
    pub fn skip_rest(&mut self, token: Token<'_>) -> Scan<()> {
        match token {
            Token::Object => self.skip_container(true),
            Token::Array => self.skip_container(false),
            _ => Ok(()),
        }
    }

    /// Skips the rest of an array or object in the middle, behind one of its values.
    pub fn skip_members(&mut self, object: bool) -> Scan<()> {
        self.open.clear();
        self.open.push(object);
        self.skip_open(false)
    }

    fn skip_container(&mut self, object: bool) -> Scan<()> {
        self.open.clear();
        self.open.push(object);
        self.skip_open(true)
    }

    fn skip_open(&mut self, mut first: bool) -> Scan<()> {
        while let Some(&object) = self.open.last() {
            let more = if object { self.next_name(first)?.is_some() } else { self.next_element(first)? };
            first = false;
            if !more {
                self.open.pop();
                continue;
            }
            let token = if object { self.member_token()? } else { self.token()? };
            match token {
                Token::Object => {
                    self.open.push(true);
                    first = true;
                }
                Token::Array => {
                    self.open.push(false);
                    first = true;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

const END: &str = "unexpected end of the record";

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The first quote, backslash or control character from `pos` on; the length of `bytes` if there is none.
#[inline]
fn find_special(bytes: &[u8], mut pos: usize, quote: u8) -> usize {
    let quotes = u64::from(quote) * LOW;
    const BACKSLASHES: u64 = b'\\' as u64 * LOW;
    while let Some(chunk) = bytes.get(pos..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote_bits = zero_bytes(word ^ quotes);
        let backslash_bits = zero_bytes(word ^ BACKSLASHES);
        let control_bits = word.wrapping_sub(0x20 * LOW) & !word & HIGH;
        let found = quote_bits | backslash_bits | control_bits;
        if found != 0 {
            return pos + (found.trailing_zeros() / 8) as usize;
        }
        pos += 8;
    }
    while let Some(&byte) = bytes.get(pos) {
        if byte == quote || byte == b'\\' || byte < 0x20 {
            break;
        }
        pos += 1;
    }
    pos
}

/// The high bit of every zero byte; bits above the first may be wrong, which does not matter for finding the first.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

/// Appends the value of a checked string with escapes. A lone surrogate becomes `?`, as Java's encoder has it.
pub(crate) fn unescape(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        let mut chars = rest.chars();
        let Some(c) = chars.next() else { return };
        rest = chars.as_str();
        match c {
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => {
                let (c, after) = unescape_unicode(rest);
                out.push(c);
                rest = after;
            }
            other => out.push(other),
        }
    }
    out.push_str(rest);
}

/// Behind `\u`: one character of one or two escapes.
fn unescape_unicode(rest: &str) -> (char, &str) {
    let unit = |text: &str| u32::from_str_radix(text.get(..4).unwrap_or_default(), 16).unwrap_or(0);
    let high = unit(rest);
    let after = rest.get(4..).unwrap_or_default();
    if let Some(c) = char::from_u32(high) {
        return (c, after);
    }
    if (0xd800..0xdc00).contains(&high)
        && let Some(second) = after.strip_prefix("\\u")
        && let low @ 0xdc00..0xe000 = unit(second)
    {
        let c = char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).unwrap_or('?');
        return (c, second.get(4..).unwrap_or_default());
    }
    ('?', after)
}
