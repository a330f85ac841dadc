-- linked_events: every event with the person it belongs to.
-- Grain: event
-- Keys: source, event_id
-- Inputs: unique_events, person_links, device_persons, event_persons
-- Stored: view
-- Definition: an event belongs to the person of its user id; without one, to the person its anonymous id was linked to at
--   that time.
SELECT
  e.*,
  COALESCE(by_user.person_key, by_device.person_key, by_event.person_key) AS person_key,
  COALESCE(by_user.person_id, by_device.person_id, by_event.person_id) AS person_id
FROM unique_events AS e
LEFT JOIN (SELECT user_id, person_key, person_id FROM person_links WHERE anonymous_id IS NULL) AS by_user
  ON by_user.user_id = e.user_id
LEFT JOIN device_persons AS by_device
  ON by_device.anonymous_id = CASE WHEN e.user_id IS NULL THEN e.anonymous_id END
LEFT JOIN event_persons AS by_event
  ON by_event.event_id = CASE WHEN e.user_id IS NULL THEN e.event_id END
  AND by_event.source = e.source
