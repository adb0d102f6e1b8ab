//! Brokers that go and come, a network that is cut, topics that grow, while a job runs from topic to topic: it goes on, or stops with
//! the cause and goes on when it is started again, and a reader of committed records sees each record once.

use std::time::Duration;

use millstream_testkit::kafka::{Cluster, ProxiedBroker, TestKafka, broker_jars, takes_its_time};

use crate::kafka_copy::{Copying, runtime};

#[test]
fn a_job_goes_on_with_partitions_that_are_added() {
    let Some(kafka) = TestKafka::from_env() else { return };
    let (runtime, servers) = (runtime(), kafka.bootstrap_servers().to_owned());
    let mut t = Copying::new(&runtime, kafka, &servers);
    t.produce();
    t.start();
    assert_eq!(t.goes_on(""), 0);
    for topic in [t.from.clone(), t.to.clone()] {
        runtime.block_on(t.kafka.grow_topic(&topic, 3)).unwrap();
    }
    t.produce();
    assert_eq!(t.goes_on(""), 0);
    t.stop_and_compare();
}

#[test]
fn a_job_outlives_a_network_that_is_cut_and_a_broker_that_restarts() {
    // The connector's own tests cut and restart, too, and so does the kill campaign.
    let Some(jars) = broker_jars().filter(|_| takes_its_time()) else { return };
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let mut network = runtime.block_on(ProxiedBroker::start(&jars, &folder.path().join("broker"))).unwrap();
    // Records come and are looked at past the network that is cut.
    let kafka = TestKafka::at(&network.broker.bootstrap_servers()).unwrap();
    let mut t = Copying::new(&runtime, kafka, &network.proxy.address().to_string());
    t.produce();
    t.start();
    assert_eq!(t.goes_on(""), 0);

    // In whatever the job is doing then.
    for pause_ms in [0, 3, 30] {
        t.produce();
        std::thread::sleep(Duration::from_millis(pause_ms));
        network.proxy.cut();
        t.produce();
        std::thread::sleep(Duration::from_millis(700));
        network.proxy.mend();
        assert_eq!(t.goes_on(""), 0, "a network that comes back costs time");
    }

    t.produce();
    network.broker.stop().unwrap();
    network.broker.start_again().unwrap();
    t.produce();
    // It may take longer than questions wait for an answer.
    t.goes_on("brokers are down");
    t.stop_and_compare();
}

#[test]
fn a_job_outlives_leaders_that_move() {
    // Three brokers and a job beside them are much for a machine of two cores.
    let Some(jars) = broker_jars().filter(|_| takes_its_time()) else { return };
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let mut cluster = Cluster::start(&jars, folder.path()).unwrap();
    let servers = cluster.bootstrap_servers();
    let mut t = Copying::new(&runtime, TestKafka::at(&servers).unwrap(), &servers);
    t.produce();
    t.start();
    assert_eq!(t.goes_on(""), 0);
    for topic in [t.from.clone(), t.to.clone()] {
        let leader = t.kafka.leader(&topic, 0).unwrap();
        t.produce();
        cluster.broker(leader).unwrap().kill();
        t.produce();
        t.goes_on("transaction");
        cluster.broker(leader).unwrap().start_again().unwrap();
        t.produce();
        t.goes_on("transaction");
    }
    t.stop_and_compare();
}
