//! The leader epochs ([KIP-320](https://cwiki.apache.org/confluence/display/KAFKA/KIP-320%3A+Allow+fetchers+to+detect+and+handle+log+truncation))
//! that brokers tell with offsets.

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;

/// The leader epoch of each element, in the order of [`TopicPartitionList::elements`]: that of the record at the offset that was asked for, at
/// the end of a partition that of its leader. `None` if the brokers told none.
pub fn leader_epochs(list: &TopicPartitionList) -> Vec<Option<i32>> {
    if list.count() == 0 {
        return Vec::new();
    }
    // SAFETY: the list is borrowed and alive.
    let elements = unsafe { (*list.ptr()).elems };
    // SAFETY: it has so many elements, one behind the other, and nobody changes it meanwhile.
    let elements = unsafe { std::slice::from_raw_parts(elements, list.count()) };
    // SAFETY: it is given an element of a list that is alive.
    let epoch_of = |element: &sys::rd_kafka_topic_partition_t| unsafe { sys::rd_kafka_topic_partition_get_leader_epoch(element) };
    elements.iter().map(epoch_of).map(|epoch| (epoch >= 0).then_some(epoch)).collect()
}
