-- searches: what people searched for, what they found and what they did with it.
-- Grain: search
-- Keys: search_key
-- Inputs: commerce_events, touchpoints
-- Increment: person
-- Order: person_key, search_key
-- Definition: one row for each products_searched event. search_results_viewed and search_result_clicked events belong to the last
--   search of the session before them with the same search id, else to the last search of the session before them.
--   lowest_position is the largest of the views, chosen_position that of the first click. refined: the next search of the session
--   has other words (capitals and spaces at the ends aside) and nothing was chosen from this one. success: it found something, and
--   a result was clicked, or a product or content looked at or a product added before the next search of the session. exit_after:
--   it is the last search of its session, and no product was looked at or added after it.
WITH steps AS (
  SELECT
    person_key,
    touchpoint_number,
    session_key,
    event_time,
    event_name = 'products_searched' AS is_search,
    search_id,
    LOWER(TRIM(query)) AS words,
    event_name,
    position,
    lowest_position
  FROM commerce_events
  WHERE person_key IS NOT NULL
    AND event_name IN ('products_searched', 'search_results_viewed', 'search_result_clicked')
),
linked AS (
  SELECT
    steps.*,
    COALESCE(
      CASE
        WHEN search_id IS NOT NULL
          THEN MAX(CASE WHEN is_search THEN touchpoint_number END) OVER (
            PARTITION BY session_key, search_id ORDER BY touchpoint_number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
          )
      END,
      MAX(CASE WHEN is_search THEN touchpoint_number END) OVER (
        PARTITION BY session_key ORDER BY touchpoint_number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      )
    ) AS search_number
  FROM steps
),
uses AS (
  SELECT
    session_key,
    search_number,
    COUNT(CASE WHEN event_name = 'search_result_clicked' THEN 1 END) AS clicks,
    MIN(CASE WHEN event_name = 'search_result_clicked' THEN event_time END) AS clicked_at,
    MIN_BY(position, CASE WHEN event_name = 'search_result_clicked' AND position IS NOT NULL THEN touchpoint_number END)
      AS chosen_position,
    MAX(CASE WHEN event_name = 'search_results_viewed' THEN lowest_position END) AS lowest_position
  FROM linked
  WHERE search_number IS NOT NULL
  GROUP BY session_key, search_number
),
ordered AS (
  SELECT
    session_key,
    touchpoint_number,
    words,
    LEAD(touchpoint_number) OVER (PARTITION BY session_key ORDER BY touchpoint_number) AS next_number,
    LEAD(words) OVER (PARTITION BY session_key ORDER BY touchpoint_number) AS next_words
  FROM steps
  WHERE is_search
),
sought AS (
  SELECT DISTINCT session_key FROM ordered
),
looks AS (
  SELECT t.session_key, t.touchpoint_number, t.event_name IN ({{ product_look_names }}) AS at_product
  FROM touchpoints AS t
  JOIN sought ON sought.session_key = t.session_key
  WHERE t.event_name IN ({{ product_look_names }}, {{ content_look_names }})
),
after AS (
  SELECT
    o.session_key,
    o.touchpoint_number,
    COUNT(CASE WHEN o.next_number IS NULL OR l.touchpoint_number < o.next_number THEN 1 END) AS looks_before_next,
    COUNT(CASE WHEN l.at_product THEN 1 END) AS product_looks
  FROM ordered AS o
  JOIN looks AS l ON l.session_key = o.session_key AND l.touchpoint_number > o.touchpoint_number
  GROUP BY o.session_key, o.touchpoint_number
)
SELECT
  c.person_key,
  c.session_key,
  c.account_id,
  c.person_key * 16777216 + c.touchpoint_number AS search_key,
  c.event_time AS searched_at,
  c.query,
  o.words,
  c.search_id,
  c.results_count,
  c.results_count = 0 AS zero_results,
  o.next_number IS NOT NULL AND u.clicks = 0 AND o.next_words <> o.words AS refined,
  u.chosen_position,
  u.lowest_position,
  u.clicks > 0 AS clicked,
  COALESCE(c.results_count, 1) > 0 AND (u.clicks > 0 OR COALESCE(a.looks_before_next, 0) > 0) AS success,
  o.next_number IS NULL AND u.clicks = 0 AND COALESCE(a.product_looks, 0) = 0 AS exit_after,
  u.clicked_at,
  c.channel,
  c.device
FROM commerce_events AS c
JOIN ordered AS o ON o.session_key = c.session_key AND o.touchpoint_number = c.touchpoint_number
JOIN uses AS u ON u.session_key = c.session_key AND u.search_number = c.touchpoint_number
LEFT JOIN after AS a ON a.session_key = c.session_key AND a.touchpoint_number = c.touchpoint_number
WHERE c.event_name = 'products_searched'
