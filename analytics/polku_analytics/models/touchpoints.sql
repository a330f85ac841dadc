-- touchpoints: every contact a person had with us, placed in the journey: who, when, where, which stage, which session.
-- Grain: event (identify, group and alias calls, bots and second copies of an event are left out)
-- Keys: source, event_id
-- Inputs: ordered_events, counted_orders
-- Order: person_key, touchpoint_number
-- Definition: stage, touchpoint and channel are the plan's; an event the plan does not place keeps its name as touchpoint
--   and has no stage. A session is {{ session_rule }}.
--   session_key is unique over all people and grows with the start.
--   revenue stands on the one event that counts for its order. repeat_order says that the person has ordered before:
--   strictly before this event, whatever the event is; an event of the first order itself has first_order instead.
WITH facts AS (
  SELECT
    e.*,
    o.order_number,
    COALESCE(o.first_order, FALSE) AS first_order,
    COALESCE(NOT o.first_order, e.event_time > f.ordered_at, FALSE) AS repeat_order,
    CASE WHEN o.event_id = e.event_id AND o.source = e.source THEN o.revenue END AS counted_revenue,
    CASE WHEN o.event_id = e.event_id AND o.source = e.source THEN o.order_id END AS counted_order_id
  FROM ordered_events AS e
  LEFT JOIN counted_orders AS o
    ON o.person_key = e.person_key
    AND o.event_name = e.event_name
    AND o.order_id = CASE WHEN e.event_name IN ({{ order_event_names }}) THEN {{ id_or_own e.order_id | e.source | e.event_id }} END
  LEFT JOIN (SELECT person_key, ordered_at FROM counted_orders WHERE first_order) AS f
    ON f.person_key = e.person_key
)
SELECT
  person_key,
  person_id,
  touchpoint_number,
  event_time,
  event_id,
  source,
  event_name,
  {{ stage }} AS stage,
  COALESCE({{ touchpoint }}, event_name) AS touchpoint,
  channel,
  marketing_channel,
  session_key,
  session_id,
  account_id,
  known_person,
  page_path,
  utm_campaign,
  device,
  os,
  browser,
  country,
  counted_order_id AS order_id,
  order_number,
  counted_revenue AS revenue
FROM facts
