# What the Kafka examples have in common; each begins with `. examples/kafka.sh`, as seen from its own folder.
#
#   * a broker of its own around the script, which ends with it, and a Python with confluent-kafka;
#   * an empty folder out/NAME, with a copy of the example whose job speaks to that broker, to run in;
#   * kafka create TOPIC.., kafka produce TOPIC < LINES, kafka read TOPIC: topics through another client.
#
# MILLSTREAM: the command to use; otherwise it is built.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ -z "${MILLSTREAM_TEST_KAFKA:-}" ] || [ -z "${MILLSTREAM_TEST_PYTHON:-}" ]; then
  exec cargo run --quiet --manifest-path "$root/Cargo.toml" --package xtask -- with kafka python -- "$here/$(basename "$0")"
fi

millstream() {
  if [ -n "${MILLSTREAM:-}" ]; then "$MILLSTREAM" "$@"; else cargo run --quiet --manifest-path "$root/Cargo.toml" -- "$@"; fi
}

kafka() {
  "$MILLSTREAM_TEST_PYTHON" "$root/examples/kafka.py" "$@"
}

out=out/$(basename "$here")
rm -rf "$out"
mkdir -p "$out"
cp "$here"/* "$out"
cd "$out"
sed "s/127.0.0.1:9092/$MILLSTREAM_TEST_KAFKA/" "$here/job.sql" > job.sql
