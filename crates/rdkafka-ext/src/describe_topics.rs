//! The ids of topics ([KIP-516](https://cwiki.apache.org/confluence/display/KAFKA/KIP-516%3A+Topic+Identifiers)), by
//! `rd_kafka_DescribeTopics`.

use std::ffi::{CStr, CString, c_int};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use uuid::Uuid;

/// How much longer than librdkafka's own timeout its answer, which then is an error, may take.
const SLACK: Duration = Duration::from_secs(1);

/// What the brokers say of a topic: its id, `None` if they give topics none (before Kafka 2.8); or why they say nothing of it.
pub type TopicIdResult = Result<Option<Uuid>, RDKafkaErrorCode>;

/// The ids of topics, with their names, in the order of `topics`, which has no name twice. Asks the broker of this id, which is waited for if
/// it is not connected, and blocks up to `within`; no topic is created by being asked for. Fails if the broker does not answer, and for names
/// that no topic can have.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    broker: i32,
    topics: &[&str],
    within: Duration,
) -> KafkaResult<Vec<(String, TopicIdResult)>> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let names = topics.iter().map(|topic| CString::new(*topic)).collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|_| KafkaError::MetadataFetch(RDKafkaErrorCode::InvalidTopic))?;
    let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let rk = client.native_ptr();
    // SAFETY: `names` has so many pointers to strings with an end, which outlive the call; they are copied.
    let collection = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()) };
    let collection = Owned::new(collection, sys::rd_kafka_TopicCollection_destroy)?;
    // SAFETY: `rk` is a client that `client` keeps alive.
    let options = unsafe { sys::rd_kafka_AdminOptions_new(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS) };
    let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy)?;
    // SAFETY: `options` are alive; no text of an error is asked for.
    let set = unsafe { sys::rd_kafka_AdminOptions_set_request_timeout(options.get(), millis(within), ptr::null_mut(), 0) };
    checked(set)?;
    // SAFETY: as above.
    checked(unsafe { sys::rd_kafka_AdminOptions_set_broker(options.get(), broker, ptr::null_mut(), 0) })?;
    // SAFETY: `rk` is a client that `client` keeps alive, beyond the end of this queue.
    let queue = Owned::new(unsafe { sys::rd_kafka_queue_new(rk) }, sys::rd_kafka_queue_destroy)?;
    // SAFETY: all four are alive; names and options are copied, and the client holds the queue for as long as it needs it.
    unsafe { sys::rd_kafka_DescribeTopics(rk, collection.get(), options.get(), queue.get()) };
    // SAFETY: the queue is alive.
    let event = unsafe { sys::rd_kafka_queue_poll(queue.get(), millis(within.saturating_add(SLACK))) };
    let Some(event) = NonNull::new(event) else { return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut)) };
    let event = Owned { thing: event, free: sys::rd_kafka_event_destroy };
    // SAFETY: the event is alive.
    checked(unsafe { sys::rd_kafka_event_error(event.get()) })?;
    // SAFETY: the event is alive. Of another kind it gives null.
    let result = unsafe { sys::rd_kafka_event_DescribeTopics_result(event.get()) };
    if result.is_null() {
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::Fail));
    }
    let mut n_described = 0;
    // SAFETY: `result` is part of the event, and `n_described` is there to be written.
    let described = unsafe { sys::rd_kafka_DescribeTopics_result_topics(result, &mut n_described) };
    if described.is_null() || n_described == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: librdkafka says that so many pointers are there; they are part of the event, which outlives the slice.
    let described = unsafe { std::slice::from_raw_parts(described, n_described) };
    // SAFETY: each is a description that is part of the event.
    Ok(described.iter().map(|description| unsafe { id_of(*description) }).collect())
}

/// The name and the id of a described topic.
///
/// # Safety
///
/// `description` is one of an event that is alive.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one reason holds for all of them")]
unsafe fn id_of(description: *const sys::rd_kafka_TopicDescription_t) -> (String, TopicIdResult) {
    // SAFETY: what the getters give is part of the description: a string with an end, an error or null, an id.
    unsafe {
        let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(description)).to_string_lossy().into_owned();
        let error = sys::rd_kafka_TopicDescription_error(description);
        // Null is no error.
        let code = sys::rd_kafka_error_code(error);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return (name, Err(code.into()));
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(description);
        let (high, low) = (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id));
        let id = Uuid::from_u64_pair(high.cast_unsigned(), low.cast_unsigned());
        (name, Ok(Some(id).filter(|id| !id.is_nil())))
    }
}

fn checked(code: sys::rd_kafka_resp_err_t) -> KafkaResult<()> {
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::MetadataFetch(code.into())),
    }
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX).min(3_600_000)
}

/// Something of librdkafka's that is freed at the end.
struct Owned<T> {
    thing: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `free` is the function that frees what made `thing`.
    fn new(thing: *mut T, free: unsafe extern "C" fn(*mut T)) -> KafkaResult<Self> {
        let thing = NonNull::new(thing).ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::InvalidArgument))?;
        Ok(Self { thing, free })
    }

    fn get(&self) -> *mut T {
        self.thing.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: it was made by the call that this function belongs to, and is freed here only.
        unsafe { (self.free)(self.thing.as_ptr()) }
    }
}
