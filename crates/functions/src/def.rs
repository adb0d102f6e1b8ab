//! One function is one line of data: name, arguments, result type, kernel.
//!
//! [`FunctionDef`] is what the analyzer's registry builds on: how many arguments, what each is coerced to, and
//! whether the session's time zone is appended as a last literal argument. [`SparkFunction`] turns a line into a
//! DataFusion function. It holds no state besides the line, so it survives serialisation by its name.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, PrimitiveArray, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use millstream_core::Options;

use crate::error::{external, internal, invalid};
use crate::options::options_in;
use crate::types;

/// What an argument is cast to before the call. The analyzer makes the cast explicit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arg {
    /// Taken as it comes.
    Any,
    /// BOOLEAN.
    Boolean,
    /// INT (strings are cast too).
    Int,
    /// BIGINT (strings are cast too).
    Long,
    /// TINYINT, SMALLINT, INT or BIGINT as it comes; a string becomes BIGINT.
    Integral,
    /// DOUBLE (any number or string is cast).
    Double,
    /// Any number as it comes; a string becomes DOUBLE, NULL becomes DOUBLE.
    Numeric,
    /// A number or an interval as it comes; a string becomes DOUBLE.
    NumericOrInterval,
    /// DECIMAL of this precision and scale.
    Decimal(u8, i8),
    /// STRING (every atomic type is cast).
    String,
    /// BINARY (a string is cast).
    Binary,
    /// STRING or BINARY as it comes; anything else becomes STRING.
    StringOrBinary,
    /// STRING, or an ARRAY of STRING (`concat_ws`).
    StringOrStrings,
    /// DATE (timestamps and strings are cast).
    Date,
    /// TIMESTAMP (dates, NTZ and strings are cast).
    Timestamp,
    /// TIMESTAMP_NTZ.
    TimestampNtz,
    /// TIMESTAMP or TIMESTAMP_NTZ as it comes; a date or string becomes TIMESTAMP.
    AnyTimestamp,
    /// DATE, TIMESTAMP or TIMESTAMP_NTZ as it comes; a string becomes TIMESTAMP.
    Temporal,
    /// An interval, as it comes.
    Interval,
    /// INTERVAL YEAR TO MONTH.
    YearMonth,
    /// INTERVAL DAY TO SECOND.
    DayTime,
    /// ARRAY of anything.
    Array,
    /// MAP of anything.
    Map,
    /// STRUCT of anything.
    Struct,
    /// ARRAY or MAP.
    ArrayOrMap,
    /// ARRAY of STRING (elements are cast).
    Strings,
    /// The common type of all arguments marked `Common`.
    Common,
    /// ARRAYs: their common type; otherwise BINARY when all are, else STRING (`concat`).
    Concat,
    /// The common type of all arguments marked `CommonKey`: even positions of `map`.
    CommonKey,
    /// The element type of argument `n` (both are widened to their common type).
    ElementOf(usize),
    /// The key type of argument `n`.
    KeyOf(usize),
    /// A STRING that must be a literal.
    LiteralString,
    /// A BOOLEAN that must be a literal.
    LiteralBoolean,
}

/// The result type of a function.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Returns {
    /// BOOLEAN.
    Boolean,
    /// TINYINT.
    Byte,
    /// INT.
    Int,
    /// BIGINT.
    Long,
    /// DOUBLE.
    Double,
    /// STRING.
    String,
    /// BINARY.
    Binary,
    /// DATE.
    Date,
    /// TIMESTAMP.
    Timestamp,
    /// TIMESTAMP_NTZ.
    TimestampNtz,
    /// VOID.
    Null,
    /// ARRAY of STRING.
    Strings,
    /// The type of argument `n`.
    Same(usize),
    /// The element type of argument `n`.
    Element(usize),
    /// Any other rule, from the argument types and the literal arguments.
    Rule(fn(&Types<'_>) -> Result<DataType>),
}

/// What a rule of result types may look at.
pub struct Types<'a> {
    fields: &'a [FieldRef],
    literals: &'a [Option<&'a ScalarValue>],
}

impl Types<'_> {
    /// How many arguments there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The type of argument `idx`; VOID when there is no such argument.
    pub fn at(&self, idx: usize) -> DataType {
        self.fields.get(idx).map_or(DataType::Null, |field| field.data_type().clone())
    }

    /// The name of the field of argument `idx`.
    pub fn name(&self, idx: usize) -> String {
        self.fields.get(idx).map_or_else(String::new, |field| field.name().clone())
    }

    /// The text of a literal argument.
    pub fn text(&self, idx: usize) -> Option<&str> {
        self.literals.get(idx).copied().flatten().and_then(scalar_text)
    }

    /// The value of a literal integer argument.
    pub fn int(&self, idx: usize) -> Option<i64> {
        self.literals.get(idx).copied().flatten().and_then(scalar_int)
    }
}

/// Computes a column from columns.
pub type Kernel = fn(&Call<'_>) -> Result<ArrayRef>;

/// Refuses options that a function does not know or cannot use; for `from_json` and its like.
pub type CheckOptions = fn(&Options) -> millstream_core::Result<()>;

/// One function: what the analyzer must know to call it, and its kernel.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct FunctionDef {
    /// Spark's name, lower case; operators and casts have names of ours (`add`, `cast`).
    pub name: &'static str,
    /// Other names of the same function.
    pub aliases: &'static [&'static str],
    /// What each argument is coerced to, in order.
    pub args: &'static [Arg],
    /// The fewest arguments (without the time zone).
    pub min_args: usize,
    /// Whether the last `args` entries repeat: how many of them form the repeated group (0: none).
    pub repeat: usize,
    /// Whether the analyzer appends the session time zone as a last STRING literal.
    pub time_zone: bool,
    /// The result type.
    pub returns: Returns,
    /// Whether NULL in any argument gives NULL.
    pub strict: bool,
    /// What reads the options, if the last argument is a map of them.
    pub options: Option<CheckOptions>,
    /// The kernel.
    pub kernel: Kernel,
}

impl std::fmt::Debug for FunctionDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionDef").field("name", &self.name).field("args", &self.args).finish_non_exhaustive()
    }
}

impl FunctionDef {
    /// A function that needs all of `args`.
    pub(crate) const fn new(name: &'static str, args: &'static [Arg], returns: Returns, kernel: Kernel) -> Self {
        Self { name, aliases: &[], args, min_args: args.len(), repeat: 0, time_zone: false, returns, strict: true, options: None, kernel }
    }

    pub(crate) const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The last arguments may be left out.
    pub(crate) const fn min(mut self, min_args: usize) -> Self {
        self.min_args = min_args;
        self
    }

    /// The last `group` arguments repeat.
    pub(crate) const fn repeat(mut self, group: usize) -> Self {
        self.repeat = group;
        self
    }

    /// The session time zone is appended.
    pub(crate) const fn zoned(mut self) -> Self {
        self.time_zone = true;
        self
    }

    /// NULL arguments do not make the result NULL.
    pub(crate) const fn lenient(mut self) -> Self {
        self.strict = false;
        self
    }

    /// The last of `args` is a map of options.
    pub(crate) const fn options(mut self, check: CheckOptions) -> Self {
        self.options = Some(check);
        self
    }

    /// Refuses wrong options: the value of the last of `args`.
    pub fn check_options(&self, value: &ScalarValue) -> Result<()> {
        let Some(check) = self.options else { return Ok(()) };
        check(&options_in(&value.to_array()?)?).map_err(external)
    }

    /// The most arguments (without the time zone), `usize::MAX` when the last ones repeat.
    pub fn max_args(&self) -> usize {
        if self.repeat > 0 { usize::MAX } else { self.args.len() }
    }

    /// What argument `idx` is coerced to.
    pub fn arg(&self, idx: usize) -> Option<Arg> {
        if let Some(arg) = self.args.get(idx) {
            return Some(*arg);
        }
        if self.repeat == 0 {
            return None;
        }
        let first = self.args.len().saturating_sub(self.repeat);
        self.args.get(first + (idx.saturating_sub(first)) % self.repeat).copied()
    }

    /// The result type for coerced arguments (`literals` has one entry per argument, the time zone included).
    pub fn return_type(&self, fields: &[FieldRef], literals: &[Option<&ScalarValue>]) -> Result<DataType> {
        let types = Types { fields, literals };
        Ok(match self.returns {
            Returns::Boolean => DataType::Boolean,
            Returns::Byte => DataType::Int8,
            Returns::Int => DataType::Int32,
            Returns::Long => DataType::Int64,
            Returns::Double => DataType::Float64,
            Returns::String => DataType::Utf8,
            Returns::Binary => DataType::Binary,
            Returns::Date => DataType::Date32,
            Returns::Timestamp => types::timestamp(),
            Returns::TimestampNtz => types::timestamp_ntz(),
            Returns::Null => DataType::Null,
            Returns::Strings => types::array_of(DataType::Utf8),
            Returns::Same(idx) => types.at(idx),
            Returns::Element(idx) => types::element_of(&types.at(idx))?,
            Returns::Rule(rule) => rule(&types)?,
        })
    }

    /// The name of the DataFusion function: prefixed, so that it never replaces one of DataFusion's by accident.
    pub fn udf_name(&self) -> String {
        format!("spark_{}", self.name)
    }

    /// The DataFusion function.
    pub fn udf(self) -> ScalarUDF {
        ScalarUDF::new_from_impl(SparkFunction {
            udf_name: self.udf_name(),
            signature: Signature::user_defined(Volatility::Immutable),
            def: self,
        })
    }
}

/// A [`FunctionDef`] as a DataFusion function.
#[derive(Debug)]
pub struct SparkFunction {
    def: FunctionDef,
    udf_name: String,
    signature: Signature,
}

impl SparkFunction {
    /// The line it was made from.
    pub fn def(&self) -> &FunctionDef {
        &self.def
    }
}

impl PartialEq for SparkFunction {
    fn eq(&self, other: &Self) -> bool {
        self.def.name == other.def.name
    }
}

impl Eq for SparkFunction {}

impl Hash for SparkFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.def.name.hash(state);
    }
}

impl ScalarUDFImpl for SparkFunction {
    fn name(&self) -> &str {
        &self.udf_name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let fields: Vec<FieldRef> = arg_types.iter().map(|t| Arc::new(Field::new("", t.clone(), true))).collect();
        self.def.return_type(&fields, &vec![None; fields.len()])
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let data_type = self.def.return_type(args.arg_fields, args.scalar_arguments)?;
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn is_strict(&self) -> bool {
        self.def.strict
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_literal = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if all_literal { 1 } else { args.number_rows };
        let call = Call { name: self.def.name, args: &args.args, n_rows, return_field: &args.return_field };
        let wanted = args.return_field.data_type();
        // A NULL literal in a strict function needs no kernel, and kernels need not know its VOID type.
        let null = self.def.strict
            && args.args.iter().any(|arg| match arg {
                ColumnarValue::Scalar(value) => value.is_null(),
                ColumnarValue::Array(array) => array.data_type() == &DataType::Null,
            });
        let result = if null { new_null_array(wanted, n_rows) } else { (self.def.kernel)(&call)? };
        if result.len() != n_rows {
            return Err(internal(format!("{} returned {} rows for {n_rows}", self.def.name, result.len())));
        }
        let result = if result.data_type() == wanted { result } else { cast(&result, wanted)? };
        if all_literal { Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)) } else { Ok(ColumnarValue::Array(result)) }
    }
}

/// The arguments of one call, as columns.
pub struct Call<'a> {
    name: &'static str,
    args: &'a [ColumnarValue],
    n_rows: usize,
    return_field: &'a FieldRef,
}

impl Call<'_> {
    /// The rows of the result.
    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The number of arguments, the time zone included.
    pub(crate) fn len(&self) -> usize {
        self.args.len()
    }

    /// The type the result must have.
    pub(crate) fn return_type(&self) -> &DataType {
        self.return_field.data_type()
    }

    fn arg(&self, idx: usize) -> Result<&ColumnarValue> {
        self.args.get(idx).ok_or_else(|| invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", format!("{} misses argument {}", self.name, idx + 1)))
    }

    /// The type of argument `idx`.
    pub(crate) fn data_type(&self, idx: usize) -> Result<DataType> {
        Ok(self.arg(idx)?.data_type())
    }

    /// Argument `idx` as a column of `n_rows` rows.
    pub(crate) fn array(&self, idx: usize) -> Result<ArrayRef> {
        self.arg(idx)?.to_array(self.n_rows)
    }

    /// Argument `idx` when it is a literal.
    pub(crate) fn literal(&self, idx: usize) -> Option<&ScalarValue> {
        match self.args.get(idx) {
            Some(ColumnarValue::Scalar(value)) => Some(value),
            _ => None,
        }
    }

    /// The text of a literal argument; `None` when NULL, left out, or not a literal.
    pub(crate) fn text(&self, idx: usize) -> Option<&str> {
        self.literal(idx).and_then(scalar_text)
    }

    /// The value of a literal integer argument.
    pub(crate) fn int(&self, idx: usize) -> Option<i64> {
        self.literal(idx).and_then(scalar_int)
    }

    /// The text of an argument that must be a literal.
    pub(crate) fn required_text(&self, idx: usize) -> Result<&str> {
        self.text(idx).ok_or_else(|| {
            invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", format!("argument {} of {} must be a string literal", idx + 1, self.name))
        })
    }

    /// The text of the last argument: where the analyzer puts the session time zone.
    pub(crate) fn last_text(&self) -> Result<&str> {
        self.required_text(self.args.len().saturating_sub(1))
    }

    /// Argument `idx` as strings.
    pub(crate) fn strings(&self, idx: usize) -> Result<StringArray> {
        self.typed(idx, &DataType::Utf8).map(|array| array.as_string::<i32>().clone())
    }

    /// Argument `idx` as binary; strings give their bytes.
    pub(crate) fn binaries(&self, idx: usize) -> Result<BinaryArray> {
        self.typed(idx, &DataType::Binary).map(|array| array.as_binary::<i32>().clone())
    }

    /// Argument `idx` as primitive values of `T`.
    pub(crate) fn primitive<T: ArrowPrimitiveType>(&self, idx: usize) -> Result<PrimitiveArray<T>> {
        let array = self.array(idx)?;
        // Decimals and zoned timestamps keep their own type; only the storage type matters to a kernel.
        if let Some(values) = array.as_primitive_opt::<T>() {
            return Ok(values.clone());
        }
        let array = cast(&array, &T::DATA_TYPE)?;
        Ok(array.as_primitive::<T>().clone())
    }

    /// Argument `idx` as booleans.
    pub(crate) fn booleans(&self, idx: usize) -> Result<arrow::array::BooleanArray> {
        self.typed(idx, &DataType::Boolean).map(|array| array.as_boolean().clone())
    }

    fn typed(&self, idx: usize, data_type: &DataType) -> Result<ArrayRef> {
        let array = self.array(idx)?;
        if array.data_type() == data_type { Ok(array) } else { Ok(cast(&array, data_type)?) }
    }
}

fn scalar_text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

fn scalar_int(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(Some(v)) => Some(i64::from(*v)),
        ScalarValue::Int16(Some(v)) => Some(i64::from(*v)),
        ScalarValue::Int32(Some(v)) => Some(i64::from(*v)),
        ScalarValue::Int64(Some(v)) => Some(*v),
        _ => None,
    }
}
