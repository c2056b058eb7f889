-- Requests of about 350 bytes for customers in turn; wrk runs this.
local key = os.getenv("BENCH_KEY")
local path = os.getenv("BENCH_PATH")
local customers = tonumber(os.getenv("BENCH_CUSTOMERS"))
local top_k = os.getenv("BENCH_TOP_K")
local stride = 7919
local at = tonumber(os.getenv("BENCH_FIRST") or "0")
local head = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. key }
local context = '{"page":"cart","campaign":"autumn","device":"mobile","items":3,"total":41.9,"referrer":"newsletter",'
  .. '"session":"5f0c9a7e-1f5b-4a0e-9a51-0d4b7f0f8a11","language":"en"}'

function request()
  at = (at + stride) % customers
  local id = string.format("customer-%05d", at)
  local body = '{"customer_id":"' .. id .. '","placement":"email.weekly","channels":["email","sms"],"offers":null,'
    .. '"context":' .. context .. ',"top_k":' .. top_k .. ',"at":null,"dry_run":false,"explain":true}'
  return wrk.format("POST", path, head, body)
end

function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.timeout + summary.errors.read + summary.errors.connect
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99), summary.bytes))
end
