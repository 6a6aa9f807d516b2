<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

namespace local_manireports\cloud;

use local_manireports\api\cloud_job_manager;

/**
 * How fast jobs are, when they will be done, and how many mails went out each day. All from the batches: their number is a
 * hundredth of the recipients'.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class job_figures {
    /** @var int seconds over which the rate of a running job is measured */
    private const WINDOW = 300;

    /** @var int seconds of the slots that days are made of: every time zone's days begin with one */
    private const SLOT = 900;

    /** @var int seconds for which a chart's figures are good */
    private const CHART_SECONDS = 300;

    /**
     * How far running jobs are.
     *
     * @param \stdClass[] $jobs rows of {@see cloud_job_manager}; those that have ended are left out
     * @return \stdClass[] by job id: waiting (mails), rate (mails a second), seconds (until it is done; null: cannot be told)
     */
    public static function progress(array $jobs): array {
        global $DB;
        $running = array_filter($jobs, fn($job) => $job->completed_at === null);
        if (!$running) {
            return [];
        }
        $now = time();
        $since = $now - self::WINDOW;
        $window = self::WINDOW;
        [$in, $params] = $DB->get_in_or_equal(array_column($running, 'id'), SQL_PARAMS_NAMED, 'job');
        [$ended, $endedparams] = $DB->get_in_or_equal(vocabulary::BATCH_ENDED, SQL_PARAMS_NAMED, 'ended', false);
        // A batch that began before the window counts with the part that falls into it.
        $sql = "SELECT b.job_id,
                       SUM(CASE WHEN b.status $ended THEN b.email_count - b.sent_count - b.failed_count ELSE 0 END) AS waiting,
                       SUM(CASE WHEN b.completed_at >= $since THEN b.sent_count
                                WHEN b.completed_at IS NOT NULL THEN 0
                                WHEN b.queued_at < $since THEN b.sent_count * $window / ($now - b.queued_at)
                                ELSE b.sent_count END) AS recently
                  FROM {" . cloud_job_manager::BATCHES . "} b
                 WHERE b.job_id $in
              GROUP BY b.job_id";
        $sums = $DB->get_records_sql($sql, $params + $endedparams);
        $limits = self::rate_limits();
        $progress = [];
        foreach ($running as $job) {
            $waiting = (int)($sums[$job->id]->waiting ?? 0);
            $over = max(1, min(self::WINDOW, $now - (int)($job->started_at ?: $now)));
            $rate = (float)($sums[$job->id]->recently ?? 0) / $over;
            $limit = $limits[(int)$job->company_id] ?? $limits[0] ?? 0;
            $rate = $limit ? min($rate, $limit) : $rate;
            $progress[(int)$job->id] = (object)[
                'waiting' => max(0, $waiting),
                'rate' => $rate,
                'seconds' => $rate > 0 && $waiting > 0 ? (int)ceil($waiting / $rate) : null,
            ];
        }
        return $progress;
    }

    /**
     * How fast a job was, or is.
     *
     * @param \stdClass $job row of {@see cloud_job_manager}
     * @return float mails a second, from its beginning to its end; 0: nothing was sent
     */
    public static function average_rate(\stdClass $job): float {
        $end = (int)($job->completed_at ?: time());
        return $job->started_at ? (int)$job->emails_sent / max(1, $end - (int)$job->started_at) : 0.0;
    }

    /**
     * What went out each day of the user's own calendar, oldest first; a mail that was repeated counts once.
     *
     * @param int $days how many, with today
     * @param int|null $company only this one; null: all that the user may see
     * @return \stdClass[] by the day's beginning: sent, failed, half and most (seconds within which half of the mails,
     *         and 95 of 100, were sent; null: none was)
     */
    public static function days(int $days, ?int $company = null): array {
        $cache = \cache::make_from_params(\cache_store::MODE_APPLICATION, 'local_manireports', 'cloudchart');
        $today = usergetmidnight(time());
        $held = access::companies(access::VIEW);
        $key = sha1(json_encode([$days, $company, $held, $today, \core_date::get_user_timezone()]));
        $known = $cache->get($key);
        if ($known && $known['at'] > time() - self::CHART_SECONDS) {
            return array_map(fn($day) => (object)$day, $known['days']);
        }
        $found = self::count_days(self::beginnings($days, $today), $company);
        $cache->set($key, ['at' => time(), 'days' => array_map(fn($day) => (array)$day, $found)]);
        return $found;
    }

    /**
     * When the last days began for the user.
     *
     * @param int $days how many
     * @param int $today when today began
     * @return int[] oldest first
     */
    private static function beginnings(int $days, int $today): array {
        $begins = [$today];
        while (count($begins) < $days) {
            $begins[] = usergetmidnight(end($begins) - HOURSECS);
        }
        return array_reverse($begins);
    }

    /**
     * What went out between the beginnings of days, and after the last of them.
     *
     * @param int[] $begins oldest first
     * @param int|null $company
     * @return \stdClass[] by beginning
     */
    private static function count_days(array $begins, ?int $company): array {
        global $DB;
        [$where, $params] = access::sql(access::VIEW, 'j.company_id');
        if ($company !== null) {
            $where .= ' AND j.company_id = :company';
            $params['company'] = $company;
        }
        $slot = self::SLOT;
        $took = '(CASE WHEN b.completed_at > b.created_at THEN b.completed_at - b.created_at ELSE 0 END)';
        $took = "CASE WHEN $took < 120 THEN $took WHEN $took < 3600 THEN FLOOR($took / 15) * 15 ELSE FLOOR($took / 300) * 300 END";
        $sql = "SELECT " . $DB->sql_concat('x.slot', "'-'", 'x.took') . " AS id, x.slot, x.took, x.sent, x.failed
                  FROM (SELECT FLOOR(b.completed_at / $slot) AS slot, $took AS took,
                               SUM(b.sent_count) AS sent, SUM(b.failed_count) AS failed
                          FROM {" . cloud_job_manager::BATCHES . "} b
                          JOIN {" . cloud_job_manager::TABLE . "} j ON j.id = b.job_id
                         WHERE b.completed_at >= :since AND j.parent_job_id IS NULL AND $where
                      GROUP BY FLOOR(b.completed_at / $slot), $took) x
              ORDER BY x.slot";
        $days = array_fill_keys($begins, null);
        $times = $sent = $failed = array_map(fn() => [], $days);
        $day = 0;
        $rows = $DB->get_recordset_sql($sql, $params + ['since' => $begins[0]]);
        foreach ($rows as $row) {
            while (isset($begins[$day + 1]) && (int)$row->slot * $slot >= $begins[$day + 1]) {
                $day++;
            }
            $begin = $begins[$day];
            $sent[$begin][] = (int)$row->sent;
            $failed[$begin][] = (int)$row->failed;
            $times[$begin][(int)$row->took] = ($times[$begin][(int)$row->took] ?? 0) + (int)$row->sent;
        }
        $rows->close();
        foreach ($begins as $begin) {
            $days[$begin] = (object)[
                'sent' => array_sum($sent[$begin]),
                'failed' => array_sum($failed[$begin]),
                'half' => self::within($times[$begin], 0.5),
                'most' => self::within($times[$begin], 0.95),
            ];
        }
        return $days;
    }

    /**
     * Seconds within which a share of mails was sent.
     *
     * @param int[] $times mails by seconds
     * @param float $share
     * @return int|null null if there are none
     */
    private static function within(array $times, float $share): ?int {
        ksort($times);
        $wanted = array_sum($times) * $share;
        $sofar = 0;
        foreach ($times as $seconds => $mails) {
            $sofar += $mails;
            if ($mails && $sofar >= $wanted) {
                return $seconds;
            }
        }
        return null;
    }

    /**
     * Mails a second that companies allow, where they limit them.
     *
     * @return int[] by company id; 0: the default
     */
    private static function rate_limits(): array {
        global $DB;
        $select = 'max_send_rate IS NOT NULL';
        return array_map('intval', $DB->get_records_select_menu(
            'manireports_cloud_company_settings',
            $select,
            null,
            '',
            'company_id, max_send_rate'
        ));
    }
}
