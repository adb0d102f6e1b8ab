//! What librdkafka reports, as errors of ours: the kind says what a caller can do, the message what was tried.

use millstream_core::{Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// An error of a client; `what` says what was tried, such as `offsets of topic 't' cannot be asked for`.
pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(KafkaError) -> Error {
    let what = what.into();
    move |error| match error.rdkafka_error_code() {
        Some(code) => of_code(code, format!("{what}: {code}")).caused_by(error),
        None => Error::unavailable(format!("{what}: {error}")).caused_by(error),
    }
}

/// An error that a code stands for; `message` says what failed.
pub(super) fn of_code(code: Code, message: impl Into<String>) -> Error {
    let (kind, hint) = advice(code);
    let error = Error::new(kind, message);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Whether a code says that a newer client has taken over.
pub(super) fn is_fencing(code: Code) -> bool {
    advice(code).0 == ErrorKind::Fenced
}

/// Whether what a client reports may pass: librdkafka goes on trying, or who asks again is answered.
pub(super) fn may_pass(error: &KafkaError) -> bool {
    let is_fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    !is_fatal && error.rdkafka_error_code().is_none_or(|code| advice(code).0 == ErrorKind::Unavailable)
}

/// Whether a code says that there is no such topic or partition.
pub(super) fn does_not_exist(code: Code) -> bool {
    matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
}

/// What a caller can do about a code. What is not named here is the broker's trouble, and may pass.
fn advice(code: Code) -> (ErrorKind, Option<&'static str>) {
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            (ErrorKind::Invalid, Some("see option kafka.sasl.username, kafka.sasl.password and kafka.sasl.mechanism"))
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState | Code::SSL => {
            (ErrorKind::Invalid, Some("check the options kafka.security.protocol, kafka.sasl.* and kafka.ssl.*"))
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::DelegationTokenAuthorizationFailed => {
            (ErrorKind::Invalid, Some("the broker's access rules do not allow this user to do it"))
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::InvalidTopic => {
            (ErrorKind::Invalid, Some("the topic or partition does not exist on the broker"))
        }
        Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidGroupId
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidRequiredAcks
        | Code::InvalidTransactionTimeout
        | Code::PolicyViolation => (ErrorKind::Invalid, None),
        Code::OffsetOutOfRange
        | Code::AutoOffsetReset
        | Code::LogTruncation
        | Code::BadMessage
        | Code::BadCompression
        | Code::InvalidMessage => (ErrorKind::Data, None),
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::MessageBatchTooLarge
        | Code::InvalidRecord
        | Code::InvalidTimestamp => (ErrorKind::Data, None),
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::TransactionCoordinatorFenced | Code::FencedInstanceId => {
            (ErrorKind::Fenced, None)
        }
        Code::QueueFull => (ErrorKind::Exhausted, None),
        Code::UnsupportedFeature | Code::UnsupportedVersion | Code::UnsupportedForMessageFormat | Code::NotImplemented => {
            (ErrorKind::Unsupported, None)
        }
        Code::Resolve | Code::AllBrokersDown | Code::BrokerTransportFailure => {
            (ErrorKind::Unavailable, Some("check option kafka.bootstrap.servers, and that the brokers run"))
        }
        _ => (ErrorKind::Unavailable, None),
    }
}
