//! Which test fails if an option does something else or nothing, or a promise is broken. Whoever changes one of them looks here
//! first; the tests below keep the lists whole.
//!
//! Names are `file::function`: of this folder, `session/...` of `crates/millstream/tests/it`, `process/...` of `crates/cli/tests/it`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::kafka::options::source_options;
use crate::kafka::sink_options::sink_options;

const SOURCE_OPTIONS: &[(&str, &[&str])] = &[
    ("kafka.*", &["client::options_go_to_librdkafka_under_their_own_names", "transactions::only_committed_records_are_read"]),
    (
        "bootstrapServers",
        &["client::options_go_to_librdkafka_under_their_own_names", "session/kafka::read_kafka_is_a_relation_of_batches_and_streams"],
    ),
    ("assign", &["source::assigned_partitions_are_read_and_no_others"]),
    ("subscribe", &["source::several_topics_are_subscribed_to_and_each_must_be_there"]),
    ("subscribePattern", &["source::a_pattern_finds_topics_that_appear_later_and_reads_them_from_their_beginning"]),
    ("startingOffsets", &["starting::a_stream_begins_where_the_options_say", "starting::offsets_must_be_named_of_all_partitions"]),
    ("startingTimestamp", &["starting::a_stream_begins_where_the_options_say"]),
    ("startingOffsetsByTimestamp", &["starting::a_stream_begins_where_the_options_say"]),
    (
        "startingOffsetsByTimestampStrategy",
        &[
            "starting::a_time_after_all_records_is_an_error_unless_the_strategy_is_latest",
            "scenarios::more_than_one_way_to_say_where_to_begin",
        ],
    ),
    ("startingOffsetsFromSparkCheckpoint", &["spark_checkpoint::a_stream_goes_on_where_spark_stopped"]),
    ("endingOffsets", &["starting::a_batch_ends_where_the_options_say"]),
    ("endingTimestamp", &["starting::a_batch_ends_where_the_options_say"]),
    ("endingOffsetsByTimestamp", &["starting::a_batch_ends_where_the_options_say"]),
    (
        "maxOffsetsPerTrigger",
        &[
            "source::a_batch_takes_no_more_than_max_offsets_per_trigger_shared_out_by_what_there_is",
            "scenarios::the_least_of_all_limits_counts",
        ],
    ),
    ("minOffsetsPerTrigger", &["source::too_few_offsets_are_waited_for_but_not_for_ever"]),
    ("maxTriggerDelay", &["source::too_few_offsets_are_waited_for_but_not_for_ever"]),
    ("minPartitions", &["source::splits_are_as_many_as_the_options_want"]),
    ("maxRecordsPerPartition", &["source::splits_are_as_many_as_the_options_want"]),
    (
        "failOnDataLoss",
        &[
            "loss::a_topic_that_vanishes_stops_a_stream_or_only_itself",
            "loss::records_deleted_between_planning_and_reading_are_an_error_or_passed_over",
            "scenarios::a_batch_over_offsets_that_are_gone_fails_or_reads_what_is_left",
        ],
    ),
    ("includeHeaders", &["source::columns_are_those_of_spark", "scenarios::headers_and_times_are_there_when_they_are_asked_for"]),
    (
        "groupIdPrefix",
        &["source::committed_offsets_are_published_and_lag_is_told", "scenarios::a_query_keeps_its_group_and_others_have_their_own"],
    ),
    ("commitOffsetsToBroker", &["source::committed_offsets_are_published_and_lag_is_told"]),
    ("metadataInterval", &["source::a_pattern_finds_topics_that_appear_later_and_reads_them_from_their_beginning"]),
    ("kafkaConsumer.pollTimeoutMs", &["faults::a_task_that_waits_for_too_long"]),
    (
        "fetchOffset.numRetries",
        &["scenarios::offsets_are_asked_for_again_as_often_as_the_option_says", "loss::a_change_of_leader_is_waited_for"],
    ),
    ("fetchOffset.retryIntervalMs", &["scenarios::the_pause_before_offsets_are_asked_for_again_is_as_long_as_the_option_says"]),
    (
        "fetchBufferBytes",
        &["client::fetched_records_wait_in_as_much_memory_as_the_option_says", "source::wide_records_and_many_rows_come_whole"],
    ),
    ("topic", &["scenarios::the_topic_of_a_table_is_read_unless_others_are_named"]),
];

const SINK_OPTIONS: &[(&str, &[&str])] = &[
    ("kafka.*", &["scenarios::records_compressed_in_any_way_are_written_and_read", "sink::options_that_would_break_it_are_refused"]),
    ("bootstrapServers", &["sink::options_that_would_break_it_are_refused"]),
    ("topic", &["scenarios::option_topic_goes_before_the_column_as_in_spark"]),
    ("delivery", &["delivery::at_least_once_has_neither_transactions_nor_markers", "sink::contract_at_least_once"]),
    (
        "markerTopic",
        &[
            "delivery::a_transaction_leaves_one_marker_in_the_topic_that_is_named_or_the_querys_own",
            "sink::a_marker_topic_that_does_not_fit_is_refused",
        ],
    ),
    (
        "transactionTimeout",
        &[
            "sink::a_transaction_that_takes_too_long_stops_with_the_options_name",
            "sink::a_transaction_timeout_beyond_the_brokers_is_refused",
            "delivery::at_least_once_waits_for_its_last_records_as_long_as_the_option_says",
        ],
    ),
    ("batchHeaders", &["sink::records_say_on_request_which_batch_they_are_of"]),
    ("mode", &["sink::written_once", "sink::options_that_would_break_it_are_refused"]),
];

/// What holds beside the options, and the test that sees it on a real broker.
const PROMISES: &[(&str, &str)] = &[
    // The source.
    ("the contract of sources", "source::keeps_the_contract"),
    ("the contract of sources, with limits", "source::keeps_the_contract_with_limits"),
    ("columns and types are Spark's, nulls and headers included", "source::columns_are_those_of_spark"),
    ("times of the broker are of type 1", "source::times_of_the_broker_have_type_1"),
    ("a topic is a table and a stream, a restart goes on", "session/kafka::topics_are_tables_and_streams"),
    ("read_kafka is a relation of batches and streams", "session/kafka::read_kafka_is_a_relation_of_batches_and_streams"),
    (
        "topics that appear begin at their first record",
        "source::a_pattern_finds_topics_that_appear_later_and_reads_them_from_their_beginning",
    ),
    ("partitions that are added begin at their first record", "source::partitions_that_are_added_are_found"),
    ("hundreds of topics are one query", "source::hundreds_of_topics_are_one_range"),
    ("a batch read where there is nothing ends", "scenarios::what_a_batch_reads_where_there_is_nothing_to_read"),
    ("available-now takes what is there", "source::available_now_takes_what_is_there_and_no_more"),
    ("a batch that runs again reads the same", "source::a_batch_that_runs_again_reads_the_same_records_and_not_those_written_since"),
    ("wide records and many rows come whole", "source::wide_records_and_many_rows_come_whole"),
    ("every codec is read and written", "scenarios::records_compressed_in_any_way_are_written_and_read"),
    ("an idle query hears of new records", "source::an_idle_stream_is_told_of_new_records_again_and_again"),
    ("batches follow targetBatchDuration", "session/kafka::batches_take_as_much_as_a_slow_sink_can_in_the_target_time"),
    (
        "too few offsets are held back for 15 minutes by default",
        "scenarios::too_few_offsets_are_held_back_for_a_quarter_of_an_hour_by_default",
    ),
    ("the user's group id is used and published to", "source::a_group_id_of_the_users_is_used"),
    ("offsets that the broker does not take stop nothing", "scenarios::offsets_that_the_broker_does_not_take_stop_nothing"),
    (
        "where a query first stood at latest counts after a crash",
        "process/kafka::a_query_at_latest_that_is_killed_before_its_first_batch_begins_where_it_first_started",
    ),
    ("the same by time", "process/kafka::the_same_by_time_where_no_record_was_as_late_at_first"),
    // Transactions and compaction, read.
    ("aborted records are not read, by stream and batch", "transactions::only_committed_records_are_read"),
    ("nothing but aborted records", "transactions::a_range_of_nothing_but_aborted_records_ends"),
    (
        "a partition that ends in aborted records",
        "transactions::a_partition_that_ends_in_aborted_records_ends_beside_others_that_have_ended",
    ),
    ("what is behind an open transaction waits", "transactions::an_open_transaction_holds_back_what_is_behind_it"),
    ("ranges end anywhere in transactions", "transactions::ranges_that_end_anywhere_in_transactions_read_each_record_once"),
    (
        "ranges of transactions are read again alike",
        "transactions::ranges_of_transactions_are_read_again_alike_after_others_moved_the_consumers",
    ),
    ("compacted topics, by stream and batch", "transactions::what_was_compacted_away_is_not_waited_for"),
    // Data loss.
    ("retention overtakes: an error with the offsets", "loss::retention_that_overtakes_a_stream_is_an_error_with_the_offsets"),
    ("retention overtakes: a gap in progress", "loss::retention_that_overtakes_a_stream_may_be_a_gap_in_progress"),
    ("records deleted between planning and reading", "loss::records_deleted_between_planning_and_reading_are_an_error_or_passed_over"),
    ("what is gone behind a batch", "loss::what_is_gone_behind_a_batch_is_counted_by_the_next"),
    ("a topic that vanishes", "loss::a_topic_that_vanishes_stops_a_stream_or_only_itself"),
    (
        "a partition that is not listed for a moment",
        "unlisted::a_partition_that_is_not_listed_for_a_moment_is_read_on_and_one_that_stays_away_is_gone",
    ),
    ("the same at a start", "unlisted::a_query_that_starts_while_a_partition_is_not_listed_waits_before_it_judges"),
    ("the same in available-now", "unlisted::available_now_waits_for_a_partition_that_is_not_listed_and_not_for_ever"),
    ("a topic made again", "recreated::a_topic_made_again_is_noticed_however_many_records_it_has"),
    ("a topic made again while the query was down", "recreated::a_topic_made_again_while_the_query_was_down_is_noticed"),
    ("a topic made again while it is read", "recreated::records_of_a_topic_made_again_are_never_taken_for_those_that_were_planned"),
    (
        "what was fetched of a topic that was made again",
        "recreated::what_was_fetched_of_the_old_topic_is_not_given_where_the_new_one_goes_on_at_the_same_offset",
    ),
    ("a topic made again in available-now", "recreated::an_available_now_run_reads_a_topic_made_again_and_ends"),
    ("a log that was cut off", "recreated::a_log_that_was_cut_off_is_of_the_same_topic_and_what_is_left_of_it_does_not_come_again"),
    ("brokers without ids of topics", "recreated::brokers_that_give_topics_no_ids_are_read_by_offsets_alone"),
    ("commands and a topic made again", "recreated::commands_tell_of_a_topic_made_again_and_move_to_the_new_one"),
    ("available-now reads all of a broker that comes back", "untold::available_now_reads_all_of_a_broker_that_comes_back"),
    ("an end that is never told", "untold::an_end_that_is_never_told_fails_available_now"),
    ("a batch leaves out no partition", "untold::a_batch_leaves_out_no_partition_of_a_broker_that_comes_back"),
    ("a new query begins where it was told to", "untold::a_new_query_begins_where_it_was_told_to"),
    ("a position that is moved keeps its partitions", "untold::a_position_that_is_moved_keeps_all_partitions_that_exist"),
    ("a topic made again is read from where it begins", "recreated::where_the_old_topic_began_says_nothing_of_the_new_one"),
    ("a new partition that has lost all its records", "loss::a_new_partition_that_has_lost_all_its_records_is_a_gap_once"),
    ("a topic taken out of the query", "loss::what_is_not_subscribed_to_any_more_is_told_apart_from_what_is_gone"),
    ("a position within an open transaction", "transactions::a_position_within_an_open_transaction_is_waited_at"),
    ("an offset that is not there", "starting::an_offset_that_is_not_there_is_data_loss"),
    // The sink.
    ("the contract of sinks, exactly once", "sink::contract_exactly_once"),
    ("the contract of sinks, at least once", "sink::contract_at_least_once"),
    ("columns become parts of records", "sink::columns_become_parts_of_records"),
    ("keys go where Kafka's own client sends them", "scenarios::keys_go_to_the_partitions_that_kafkas_own_client_chooses"),
    ("tombstones", "sink::changes_become_records_and_tombstones"),
    (
        "updates fold to the batch's answer after crashes",
        "session/kafka_sink::updates_and_tombstones_fold_to_the_answer_of_the_batch_after_crashes",
    ),
    ("a batch write is one transaction", "sink::a_batch_write_is_one_transaction_without_markers"),
    ("a failed record is named, nothing of its batch is visible", "sink::a_failed_record_is_named_and_nothing_of_its_batch_is_visible"),
    ("a null topic", "sink::a_null_topic_is_refused"),
    ("markers and checkpoint must agree", "sink::markers_and_checkpoint_must_agree"),
    ("ids of the last record are shut out", "sink::ids_of_the_last_record_are_shut_out"),
    ("a full queue holds the writer back", "sink::a_small_queue_holds_the_writer_back_and_loses_nothing"),
    ("a crash at every step, in one process", "session/kafka_sink::crashes_at_every_step_lose_and_double_no_record"),
    ("a job counts topics into a topic, a batch adds to it", "session/kafka_sink::a_job_counts_topics_into_a_topic_and_a_batch_adds_to_it"),
    // Operations.
    (
        "TLS, SASL PLAIN and SCRAM, expired credentials",
        "secure::a_broker_that_asks_who_we_are_is_written_and_read_or_its_refusal_is_told_at_once",
    ),
    ("secrets are shown nowhere", "process/secrets::secrets_of_kafka_are_in_no_log_error_progress_or_checkpoint"),
    ("a broker that restarts", "sink::a_broker_that_restarts_between_the_steps_costs_and_doubles_nothing"),
    ("a network that is cut", "faults::a_network_that_is_cut_for_a_while_costs_time_and_no_record"),
    ("leaders that move", "faults::leaders_that_move_cost_and_double_no_record"),
    ("partitions added, written and read", "faults::partitions_that_are_added_while_a_query_runs_are_written_and_read"),
    ("partitions added while a job runs", "process/kafka_outages::a_job_goes_on_with_partitions_that_are_added"),
    (
        "a network that is cut, a broker that restarts while a job runs",
        "process/kafka_outages::a_job_outlives_a_network_that_is_cut_and_a_broker_that_restarts",
    ),
    ("leaders that move while a job runs", "process/kafka_outages::a_job_outlives_leaders_that_move"),
    ("a process that dies at each step of a transaction", "process/kafka_crashes::a_batch_is_committed_once_wherever_its_process_died"),
    (
        "letters and rows of a process that is killed between letters and commit",
        "process/kafka_dead_letters::letters_and_rows_are_as_often_there_as_promised_wherever_the_process_is_killed",
    ),
    ("letters over TLS and SASL", "session/kafka_dead_letters::letters_go_to_a_broker_that_asks_who_we_are"),
    ("zombies", "process/zombies::a_zombie_is_shut_out_and_says_so"),
    ("where a query stands", "process/kafka::where_a_query_stands_is_shown_with_and_without_brokers"),
    ("a stopped query is moved", "process/kafka::a_stopped_query_is_moved_by_offsets_time_and_ends"),
    ("what is wrong with a position", "process/kafka::what_is_wrong_with_a_position_is_shown"),
    ("a query's isolation level", "process/kafka::the_isolation_of_a_query_decides_where_its_latest_is"),
    ("partitions that a query does not read", "process/kafka::partitions_that_a_query_does_not_read_are_refused_and_dropped"),
    ("a reset is refused", "process/kafka::a_reset_is_refused_with_what_is_wrong"),
    // Examples, beside another client.
    ("counts by topic", "process/kafka_examples::topics_are_counted_and_a_second_run_shows_what_changes"),
    ("from topics to a topic", "process/kafka_examples::views_become_counts_of_campaigns_in_another_topic"),
    ("log lines to Parquet", "process/kafka_examples::log_lines_become_a_table"),
];

/// The text of a function, from its name on.
fn text_of(test: &str) -> String {
    let (file, function) = test.split_once("::").unwrap();
    let folder = match file.split_once('/') {
        None => format!("src/kafka/tests/{file}.rs"),
        Some(("session", file)) => format!("../millstream/tests/it/{file}.rs"),
        Some(("process", file)) => format!("../cli/tests/it/{file}.rs"),
        Some((other, _)) => panic!("{other}: {test}"),
    };
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let begin = source.find(&format!("fn {function}(")).unwrap_or_else(|| panic!("there is no {test}"));
    let text = &source[begin..];
    text[..text.find("\n}\n").unwrap()].to_owned()
}

#[test]
fn each_option_has_a_test_that_uses_it() {
    for (options, tests) in [(source_options(), SOURCE_OPTIONS), (sink_options(), SINK_OPTIONS)] {
        let known: BTreeSet<&str> = options.iter().map(|option| option.name).collect();
        let listed: BTreeSet<&str> = tests.iter().map(|(option, _)| *option).collect();
        assert_eq!(known, listed);
        for (option, tests) in tests {
            let used = format!("\"{}", option.trim_end_matches('*')).to_lowercase();
            for test in *tests {
                let text = text_of(test);
                // SQL names an argument without quotation marks.
                assert!(text.to_lowercase().contains(&used) || text.contains(&format!("{option} => ")), "{test} does not use {option}");
            }
        }
    }
}

#[test]
fn each_promise_has_a_test() {
    let named: BTreeSet<&str> = PROMISES.iter().map(|(_, test)| *test).collect();
    named.iter().for_each(|test| drop(text_of(test)));
    assert!(named.len() >= 60, "{}", named.len());
}
