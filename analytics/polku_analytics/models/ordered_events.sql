-- ordered_events: every event of a person, in the person's order; what the other models start from.
-- Grain: event (identify, group and alias calls are not events a person had)
-- Keys: source, event_id
-- Inputs: linked_events
-- Stored: no
-- Definition: touchpoint_number counts a person's events from 1 by time, then event id, then source. previous_unsessioned_time is
--   the time of the person's last earlier event that came without a session id of its own. known_person says that this
--   event or an earlier one of the person carried a user id; account_id is its group id, else the last one before it.
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
    {{ client_session_id }} AS session_id,
    user_id,
    group_id,
    event_type = 'group' AS is_group_call,
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
  WHERE event_type NOT IN ('identify', 'alias') AND person_key IS NOT NULL
)
SELECT *
FROM (
  SELECT
    placed.*,
    COUNT(CASE WHEN NOT is_group_call THEN 1 END) OVER so_far AS touchpoint_number,
    MAX(CASE WHEN session_id IS NULL AND NOT is_group_call THEN event_time END) OVER before
      AS previous_unsessioned_time
    {{ previous_campaign }},
    COUNT(CASE WHEN NOT is_group_call THEN user_id END) OVER so_far > 0 AS known_person,
    LAST_VALUE(group_id IGNORE NULLS) OVER so_far AS account_id
  FROM placed
  WINDOW
    so_far AS (
      PARTITION BY person_key ORDER BY event_time, event_id, source ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ),
    before AS (
      PARTITION BY person_key ORDER BY event_time, event_id, source ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
) AS numbered
WHERE NOT is_group_call
