-- Requests whose bodies are the lines of a file, in turns; wrk runs this.
local bodies = {}
for line in io.lines(os.getenv("BENCH_BODIES")) do
  bodies[#bodies + 1] = line
end
local path = os.getenv("BENCH_PATH")
local head = { ["Content-Type"] = "application/json" }
local at = 0

function request()
  at = at % #bodies + 1
  return wrk.format("POST", path, head, bodies[at])
end

function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.timeout + summary.errors.read + summary.errors.connect
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99), summary.bytes))
end
