-- Turns Envoy's Prometheus page into ours: what http_metrics.py counts becomes `http_requests_total` and
-- `http_request_duration_seconds` with the labels of requirements.md, everything else stays as Envoy wrote it.

local REQUESTS = "http_requests_total"
local DURATION = "http_request_duration_seconds"
local HEAD = "# HELP " .. REQUESTS .. " Requests that ended at the edge, by the HTTP status of the answer.\n# TYPE "
  .. REQUESTS .. " counter\n"
local DURATION_HEAD = "# HELP " .. DURATION .. " Time from a request's arrival at the edge to its end.\n# TYPE "
  .. DURATION .. " histogram\n"

-- The HTTP status that a gRPC status has for JSON callers (google.rpc.Code).
local HTTP_OF_GRPC = { ["0"] = "200", ["1"] = "499", ["2"] = "500", ["3"] = "400", ["4"] = "504", ["5"] = "404",
  ["6"] = "409", ["7"] = "403", ["8"] = "429", ["9"] = "400", ["10"] = "409", ["11"] = "400", ["12"] = "501",
  ["13"] = "500", ["14"] = "503", ["15"] = "500", ["16"] = "401" }
local CALLER_LEFT = "499"

-- Returns the path template or the gRPC method of a route's name (routes.py), or what the route is for in brackets.
local function endpoint_of(route)
  if route == "" then return "(no request)" end
  if route:sub(1, 1) == "/" then return route end
  return route:match("^%u+ (/.*)$") or route:match("^wrong verb on (/.*)$") or "(" .. route .. ")"
end

-- Returns the status that the caller saw, or would have seen as JSON.
local function status_of(route, http, grpc)
  if http == "0" or http == "" then return CALLER_LEFT end
  if route == "unknown gRPC method" then return "404" end
  if route:sub(1, 1) ~= "/" or http ~= "200" then return http end
  return HTTP_OF_GRPC[grpc] or (grpc == "" and CALLER_LEFT or "500")
end

local function label(labels, name)
  return labels:match(name .. '="(.-)"') or ""
end

-- Returns our labels, without what follows for a bucket or a status.
local function labels_of(labels)
  return 'method="' .. label(labels, "verb") .. '",endpoint="' .. endpoint_of(label(labels, "route")) .. '"'
end

-- Adds a number to those under the same key; several routes and statuses of Envoy's are one of ours.
local function add(sums, order, key, value)
  if not sums[key] then
    order[#order + 1] = key
    sums[key] = 0
  end
  sums[key] = sums[key] + tonumber(value)
end

local function seconds(milliseconds)
  return milliseconds == "+Inf" and milliseconds or string.format("%.10g", tonumber(milliseconds) / 1000)
end

local function take(found, name, labels, value)
  if name == "requests" then
    local status = status_of(label(labels, "route"), label(labels, "http"), label(labels, "grpc"))
    add(found.sums, found.requests, REQUESTS .. "{" .. labels_of(labels) .. ',status_code="' .. status .. '"}', value)
  elseif name == "duration_bucket" then
    local le = seconds(label(labels, "le"))
    add(found.sums, found.durations, DURATION .. "_bucket{" .. labels_of(labels) .. ',le="' .. le .. '"}', value)
  elseif name == "duration_sum" then
    add(found.sums, found.durations, DURATION .. "_sum{" .. labels_of(labels) .. "}", value / 1000)
  elseif name == "duration_count" then
    add(found.sums, found.durations, DURATION .. "_count{" .. labels_of(labels) .. "}", value)
  end
end

local function written(head, order, sums)
  local lines = {}
  for number, key in ipairs(order) do lines[number] = key .. " " .. string.format("%.15g", sums[key]) end
  return #lines == 0 and "" or head .. table.concat(lines, "\n") .. "\n"
end

function envoy_on_response(handle)
  if handle:headers():get(":status") ~= "200" then return end
  local buffer = handle:body(true)
  local found = { sums = {}, requests = {}, durations = {} }
  local others = {}
  for line in buffer:getBytes(0, buffer:length()):gmatch("[^\n]+") do
    local name, labels, value = line:match("^envoy_candela_([%w_]+){(.*)} (%S+)$")
    if name then
      take(found, name, labels, value)
    elseif not line:find("envoy_candela_", 1, true) then
      others[#others + 1] = line
    end
  end
  buffer:setBytes(written(HEAD, found.requests, found.sums) .. written(DURATION_HEAD, found.durations, found.sums)
    .. table.concat(others, "\n") .. "\n")
end
