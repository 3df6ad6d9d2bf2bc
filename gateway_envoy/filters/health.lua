-- Answers /healthz: 200 when the gateway takes requests and every deployed service has a healthy server, otherwise 503
-- with the names of those that have none. Envoy knows both; its admin page is asked at most four times a second.

local FRESH_MS = 250
local cached = { at = 0 }

local function ask(handle, path)
  local headers, body = handle:httpCall(
    "admin", { [":method"] = "GET", [":path"] = path, [":authority"] = "admin" }, nil, 1000)
  return headers and headers[":status"] or "503", body or ""
end

-- Returns the names of clusters all of whose servers fail their checks, in order. Only services have checks: the other
-- clusters' servers are always called healthy.
local function down(clusters)
  local seen, healthy, names = {}, {}, {}
  for name, flags in clusters:gmatch("([%w_]+)::[^\n]-::health_flags::([^\n]*)") do
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
    healthy[name] = healthy[name] or flags == "healthy"
  end
  local failing = {}
  for _, name in ipairs(names) do
    if not healthy[name] then failing[#failing + 1] = name end
  end
  table.sort(failing)
  return failing
end

local function verdict(handle)
  local ready = ask(handle, "/ready")
  if ready ~= "200" then return { "gateway" } end
  local status, clusters = ask(handle, "/clusters")
  if status ~= "200" then return { "gateway" } end
  return down(clusters)
end

function envoy_on_request(handle)
  local now = handle:timestamp()
  if now - cached.at > FRESH_MS then
    local failing = verdict(handle)
    cached = { at = now, names = table.concat(failing, ",") }
  end
  handle:respond({ [":status"] = cached.names == "" and "200" or "503", ["content-type"] = "application/json",
    ["cache-control"] = "no-store", ["access-control-allow-origin"] = "*" }, '{"status":"SERVING"}')
end

-- What a script answers from 400 on is rewritten like every reply of Envoy's own, so the text is put in here.
function envoy_on_response(handle)
  if handle:headers():get(":status") ~= "503" then return end
  local buffer = handle:body(true)
  handle:headers():remove("candela-reply")
  buffer:setBytes('{"error":{"code":503,"status":"UNAVAILABLE","message":"not healthy: ' .. cached.names:gsub(",", ", ")
    .. '","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"UNAVAILABLE",'
    .. '"domain":"candela.dev","metadata":{"services":"' .. cached.names .. '"}}]}}')
end
