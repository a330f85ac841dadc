-- ordered_events: every event of a person with its place in the person's order; what the other models start from.
-- Grain: event (identify, group and alias calls are not events a person had)
-- Keys: source, event_id
-- Inputs: unique_events, event_order, person_facts
-- Stored: view
-- Definition: the event's own columns, and those of event_order.
SELECT
  n.person_key,
  p.person_id,
  n.touchpoint_number,
  n.session_key,
  n.session_id,
  n.known_person,
  n.account_id,
  e.event_time,
  e.event_id,
  e.source,
  e.event_name,
  {{ channel }} AS channel,
  e.marketing_channel,
  e.page_path,
  e.utm_campaign,
  e.device,
  e.os,
  e.browser,
  e.country,
  e.order_id,
  CAST(e.revenue AS DOUBLE) AS order_revenue,
  e.currency AS order_currency,
  CASE WHEN e.event_name IN ({{ order_event_names }}) THEN {{ items }} END AS order_items
  {{ rule_columns }}
FROM unique_events AS e
JOIN event_order AS n ON {{ same_event e | n }}
JOIN person_facts AS p ON p.person_key = n.person_key
