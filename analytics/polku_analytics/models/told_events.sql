-- told_events: contacts, complaints, answers and looks at products, with what they say; so that the events are read once for all.
-- Grain: event
-- Keys: source, event_id
-- Inputs: linked_events
-- Stored: no
-- Increment: person
-- Definition: events of these names that belong to somebody. A property that the plan does not have, or means otherwise, is null.
SELECT
  source,
  event_id,
  event_name,
  event_time,
  person_key,
  {{ read contact_medium | string }} AS contact_medium,
  {{ read agent_id | string }} AS agent_id,
  {{ read agent_role | string }} AS agent_role,
  {{ read contact_reason | string }} AS contact_reason,
  {{ read reason | string }} AS reason,
  {{ read duration_seconds | double }} AS duration_seconds,
  {{ read wait_seconds | double }} AS wait_seconds,
  {{ read resolved | boolean }} AS resolved,
  {{ read order_id | string }} AS order_id,
  {{ read store_id | string }} AS store_id,
  {{ read complaint_id | string }} AS complaint_id,
  {{ read complaint_topic | string }} AS complaint_topic,
  {{ read resolution | string }} AS resolution,
  {{ read value | double }} AS value,
  {{ read currency | string }} AS currency,
  {{ read survey_id | string }} AS survey_id,
  {{ read scale | string }} AS scale,
  {{ read score | double }} AS score,
  {{ read rating | double }} AS rating,
  {{ read about | string }} AS about,
  {{ read about_id | string }} AS about_id,
  {{ read product_id | string }} AS product_id,
  {{ read content_id | string }} AS content_id,
  {{ read category | string }} AS category
FROM linked_events
WHERE event_name IN ({{ told_event_names }}) AND person_key IS NOT NULL
