# Everything, in order of use.
for part in settings process packages network machine bmc stores config schema control real; do
  . "$(dirname "${BASH_SOURCE[0]}")/$part.sh"
done
unset part

# step WORDS COMMAND...: runs it and says how long it took.
step() {
  local what=$1 began=${EPOCHREALTIME/./} now
  shift
  "$@" || die "could not finish: $what"
  now=${EPOCHREALTIME/./}
  printf '%6d.%d s  %s\n' $(((now - began) / 1000000)) $(((now - began) / 100000 % 10)) "$what"
}
