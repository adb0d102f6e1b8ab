//! Streams step by step against Spark's answers in `/gold/scenarios`: every micro-batch with its id, rows, watermark and
//! late rows, of one query that lives through all steps and of one that is restarted after each.

mod case;
mod life;
mod text;

use futures::StreamExt;
use futures::stream;
use millstream_testkit::gold::Report;

use self::case::{Answer, Scenario, scenarios};
use self::life::{Life, live};

/// Scenarios run side by side: each mostly waits for its loop.
const N_AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn scenarios_run_as_in_spark() {
    let mut report = Report::new("scenarios").unwrap();
    let all = scenarios();
    // A wish to look at a few of them: nothing can be said about the list then.
    let wish = std::env::var("MILLSTREAM_SCENARIOS").ok();
    let wanted = all.into_iter().filter(|scenario| wish.as_ref().is_none_or(|wish| scenario.id.contains(wish.as_str())));
    let mut judged = stream::iter(wanted.map(|scenario| tokio::spawn(judge(scenario)))).buffered(N_AT_ONCE);
    while let Some(judgements) = judged.next().await {
        for Judgement { id, expected, ours } in judgements.unwrap() {
            if wish.is_some() && ours.as_ref() != Ok(&expected) {
                println!("{id}\n-- Spark\n{expected}-- Millstream\n{}", ours.clone().unwrap_or_else(|error| format!("{error}\n")));
            }
            report.text(&id, &expected, ours.as_deref().map_err(Clone::clone));
        }
    }
    if wish.is_some() {
        let (n_agreed, n_lives) = report.counts();
        println!("{n_agreed} of {n_lives} agree");
        return;
    }
    match report.finish() {
        Ok(text) => println!("{text}"),
        Err(text) => panic!("{text}"),
    }
}

/// One line of the report.
struct Judgement {
    id: String,
    expected: String,
    ours: Result<String, String>,
}

async fn judge(scenario: Scenario) -> Vec<Judgement> {
    let lives = [live(&scenario, Life::Whole).await, live(&scenario, Life::Restarted).await];
    let id = scenario.id.clone();
    match &scenario.answer {
        Answer::Refused { classes, names } => {
            let expected = text::refusal(classes, names);
            vec![Judgement { ours: text::our_refusal(&lives[0], classes, names), id, expected }]
        }
        Answer::Beyond => {
            let expected = "both lives give the same batches".to_owned();
            vec![Judgement { ours: text::our_alike(&lives).map(|()| expected.clone()), id, expected }]
        }
        Answer::Batches { schema, live, restart } => [("live", live), ("restart", restart)]
            .into_iter()
            .zip(lives)
            .map(|((life, steps), ours)| Judgement {
                id: format!("{id}/{life}"),
                expected: text::gold(schema, steps, &scenario),
                ours: ours.map(|ours| text::ours(&ours, steps, scenario.is_ordered)).map_err(|error| error.to_string()),
            })
            .collect(),
    }
}
