-- latest_traits: the last known value of each trait of each person.
-- Grain: person
-- Keys: person_key
-- Inputs: linked_events
-- Stored: no
-- Definition: the value of the latest identify call that carries the trait (by event time, then event id, then source).
SELECT
  person_key
  {{ latest_traits }}
FROM linked_events
WHERE event_type = 'identify' AND person_key IS NOT NULL
GROUP BY person_key
