-- event_order: where every event of a person stands among the person's events, and the session it belongs to.
-- Grain: event (identify, group and alias calls are not events a person had)
-- Keys: event_row
-- Inputs: linked_events
-- Stored: no
-- Definition: touchpoint_number counts a person's events from 1 by time, then event id, then source. known_person says that
--   this event or an earlier one of the person, calls included, carried a user id; account_id is its group id, else the last
--   one before it, that of a group call included.
--   A session is {{ session_rule }}. session_key is unique over all people and grows with the start.
--   Narrow, because it is what has to be sorted: the rest of an event joins it.
WITH placed AS (
  SELECT
    {{ event_row e }},
    e.person_key,
    e.event_time,
    e.event_id,
    e.source,
    {{ client_session_id }} AS session_id,
    e.user_id IS NOT NULL AS is_known,
    CASE WHEN e.event_type NOT IN ('identify', 'alias') THEN e.group_id END AS group_id,
    e.event_type IN ('identify', 'group', 'alias') AS is_call
    {{ campaign_of_session }}
  FROM linked_events AS e
  -- Of an identify or alias call nothing is asked but from when on the person was known.
  WHERE (e.event_type NOT IN ('identify', 'alias') OR e.user_id IS NOT NULL) AND e.person_key IS NOT NULL
),
numbered AS (
  SELECT
    placed.*,
    COUNT(CASE WHEN NOT is_call THEN 1 END) OVER so_far AS touchpoint_number,
    -- Of the last earlier event that came without a session id of its own.
    MAX(CASE WHEN session_id IS NULL AND NOT is_call THEN event_time END) OVER before
      AS previous_unsessioned_time
    {{ previous_campaign }},
    COUNT(CASE WHEN is_known THEN 1 END) OVER so_far > 0 AS known_person,
    LAST_VALUE(group_id IGNORE NULLS) OVER so_far AS account_id
  FROM placed
  WINDOW
    so_far AS (
      PARTITION BY person_key ORDER BY event_time, event_id, source ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ),
    before AS (
      PARTITION BY person_key ORDER BY event_time, event_id, source ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
client_sessions AS (
  SELECT person_key, session_id, MIN(touchpoint_number) AS first_number
  FROM numbered
  WHERE session_id IS NOT NULL AND NOT is_call
  GROUP BY person_key, session_id
),
begun AS (
  SELECT
    numbered.*,
    MAX(
      CASE
        WHEN session_id IS NOT NULL THEN NULL
        WHEN previous_unsessioned_time IS NULL THEN touchpoint_number
        WHEN {{ session_begins }} THEN touchpoint_number
      END
    ) OVER (
      PARTITION BY person_key ORDER BY touchpoint_number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS first_number
  FROM numbered
  WHERE NOT is_call
)
SELECT
  {{ event_row b }},
  b.person_key,
  b.touchpoint_number,
  b.session_id,
  b.person_key * 16777216 + COALESCE(s.first_number, b.first_number) AS session_key,
  b.known_person,
  b.account_id
FROM begun AS b
LEFT JOIN client_sessions AS s ON s.person_key = b.person_key AND s.session_id = b.session_id
