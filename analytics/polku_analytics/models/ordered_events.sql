-- ordered_events: every event of a person, in the person's order; what the other models start from.
-- Grain: event (identify, group and alias calls are not events a person had)
-- Keys: source, event_id
-- Inputs: linked_events
-- Stored: no
-- Definition: touchpoint_number counts a person's events from 1 by time, then event id, then source. previous_unsessioned_time is
--   the time of the person's last earlier event that came without a session id of its own. known_person says that this
--   event or an earlier one of the person carried a user id.
WITH placed AS (
  SELECT
    person_key,
    person_id,
    event_time,
    event_id,
    source,
    event_name,
    {{ channel }} AS channel,
    marketing_channel,
    session_id,
    user_id,
    page_path,
    utm_campaign,
    device,
    os,
    browser,
    country,
    order_id,
    CAST(revenue AS DOUBLE) AS order_revenue,
    currency AS order_currency,
    CASE WHEN event_name IN ({{ order_event_names }}) THEN {{ items }} END AS order_items
    {{ rule_columns }}
  FROM linked_events
  WHERE event_type NOT IN ('identify', 'group', 'alias') AND person_key IS NOT NULL
)
SELECT
  placed.*,
  ROW_NUMBER() OVER (PARTITION BY person_key ORDER BY event_time, event_id, source) AS touchpoint_number,
  MAX(CASE WHEN session_id IS NULL THEN event_time END) OVER (
    PARTITION BY person_key ORDER BY event_time, event_id, source ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  ) AS previous_unsessioned_time,
  COUNT(user_id) OVER (
    PARTITION BY person_key ORDER BY event_time, event_id, source ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
  ) > 0 AS known_person
FROM placed
