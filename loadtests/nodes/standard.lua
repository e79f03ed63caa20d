-- The standard job for wrk: the bodies of the file named by BODIES, one a line, from the SKIPth on, round and round.
-- They are put together before the clock runs. Answers to stderr: requests, refused, lost, microseconds.

local requests, at = {}, 0

function init(args)
  local headers = { ["content-type"] = "application/json" }
  for body in io.lines(os.getenv("BODIES")) do
    requests[#requests + 1] = wrk.format("POST", "/v1/decide", headers, body)
  end
  at = tonumber(os.getenv("SKIP")) or 0
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, requests)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.stderr:write(string.format("%d %d %d %d\n", summary.requests, summary.errors.status, lost, summary.duration))
end
