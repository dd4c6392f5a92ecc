-- Health of a ModelDeployment for Argo CD, from the conditions the operator writes.
-- Degraded: the wanted model is refused or nothing serves. Progressing: a roll-out is under way. Suspended: spec.suspend.
local health = {status = "Progressing", message = "Waiting for the operator"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end

local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end

local function is(type, value)
  return found[type] ~= nil and found[type].status == value
end

local function because(type)
  return {message = found[type].message or found[type].reason or ""}
end

if status.observedGeneration ~= nil and status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "Waiting for the operator to see generation " .. tostring(obj.metadata.generation)}
end
if is("Stalled", "True") then
  return {status = "Degraded", message = because("Stalled").message}
end
if obj.spec ~= nil and obj.spec.suspend then
  return {status = "Suspended", message = "spec.suspend is true"}
end
if is("Reconciling", "True") then
  return {status = "Progressing", message = because("Reconciling").message}
end
if is("Ready", "True") and is("UpToDate", "True") then
  return {status = "Healthy", message = because("UpToDate").message}
end
if is("UpToDate", "True") and found.Ready ~= nil and found.Ready.reason == "ScaledToZero" then
  return {status = "Healthy", message = because("Ready").message}
end
-- With updatePolicy: Manual. Not Suspended: an update may wait for weeks, and must hold up no sync wave meanwhile.
if is("Ready", "True") and found.UpToDate ~= nil and found.UpToDate.reason == "UpdateAvailable" then
  return {status = "Healthy", message = because("UpToDate").message}
end
if is("UpToDate", "False") then
  return {status = "Degraded", message = because("UpToDate").message}
end
if is("Ready", "False") then
  return {status = "Degraded", message = because("Ready").message}
end
return health
