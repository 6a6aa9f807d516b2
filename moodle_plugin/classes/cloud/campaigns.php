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

use local_manireports\event\cloud_campaign_changed;
use local_manireports\event\reengagement_campaign_triggered;

/**
 * Campaigns and their outbox: every query of the pages on manireports_cloud_campaigns and _outbox.
 *
 * The sidecar claims what waits of campaigns that are queued; it locks the campaign's row first, and so do we.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class campaigns {
    /** @var string the campaigns */
    private const TABLE = 'manireports_cloud_campaigns';

    /** @var string their recipients */
    private const OUTBOX = 'manireports_cloud_outbox';

    /** @var string the type of job that they become */
    private const TYPE = 'reengagement';

    /** @var string[] states in which the text may change: nothing of it moves */
    public const EDITABLE = ['draft', 'held', 'failed'];

    /** @var string[] states in which rows may still wait in the outbox */
    public const OPEN = ['draft', 'queued', 'running', 'held', 'failed'];

    /**
     * A page of the campaigns that the current user may see, the newest first.
     *
     * @param int $page from 0
     * @param int $size
     * @return \stdClass[] rows with those of their jobs: emails, sent, failed, jobstatus
     */
    public static function page(int $page, int $size): array {
        global $DB;
        [$where, $params] = access::sql(access::CAMPAIGN, 'c.company_id');
        $sql = "SELECT c.id, c.type, c.company_id, c.subject, c.created_by, c.send_at, c.status, c.job_id, c.error_message,
                       c.created_at, j.email_count AS emails, j.emails_sent AS sent, j.emails_failed AS failed,
                       j.status AS jobstatus
                  FROM {" . self::TABLE . "} c
             LEFT JOIN {manireports_cloud_jobs} j ON j.id = c.job_id
                 WHERE $where
              ORDER BY c.id DESC";
        return $DB->get_records_sql($sql, $params, $page * $size, $size);
    }

    /**
     * How many campaigns the current user may see.
     */
    public static function count(): int {
        global $DB;
        [$where, $params] = access::sql(access::CAMPAIGN, 'company_id');
        return $DB->count_records_select(self::TABLE, $where, $params);
    }

    /**
     * How many rows of campaigns wait.
     *
     * @param int[] $ids
     * @return int[] by id of the campaign
     */
    public static function waiting(array $ids): array {
        global $DB;
        if (!$ids) {
            return [];
        }
        [$in, $params] = $DB->get_in_or_equal($ids, SQL_PARAMS_NAMED);
        $sql = 'SELECT campaign_id, COUNT(1) FROM {' . self::OUTBOX . "}
                 WHERE campaign_id $in AND status = 'waiting'
              GROUP BY campaign_id";
        return array_map('intval', $DB->get_records_sql_menu($sql, $params));
    }

    /**
     * A campaign that the current user may send.
     *
     * @param int $id
     * @throws \moodle_exception if there is none, or it is not theirs
     */
    public static function read(int $id): \stdClass {
        global $DB;
        $campaign = $DB->get_record(self::TABLE, ['id' => $id]);
        // Whoever may not see it does not learn that it is there.
        if (!$campaign || !access::can(access::CAMPAIGN, (int)$campaign->company_id)) {
            throw new \moodle_exception('cloudnocampaign', 'local_manireports');
        }
        return $campaign;
    }

    /**
     * Make a campaign and its outbox, in one transaction: nothing of it can be claimed before all of it is there.
     *
     * Asked twice for the same wish, as by a double click, it makes one only and answers the same.
     *
     * @param campaign_audience $audience of a company for which the current user may send
     * @param campaign_text $text
     * @param int $sendat not before, Unix seconds; 0: now
     * @param bool $draft whether it is only kept
     * @param string $wish random letters and digits that stand for what the person wants just once; empty: nothing does
     * @return \stdClass id, count
     * @throws \moodle_exception if there is nobody to write to
     */
    public static function create(
        campaign_audience $audience,
        campaign_text $text,
        int $sendat,
        bool $draft,
        string $wish = ''
    ): \stdClass {
        global $DB, $USER;
        access::require(access::CAMPAIGN, $audience->company);
        $lock = \core\lock\lock_config::get_lock_factory('local_manireports')->get_lock("campaign_$USER->id", 30);
        if (!$lock) {
            throw new \moodle_exception('locktimeout');
        }
        try {
            $wish = $wish === '' ? '' : "{$USER->id}_$wish";
            $same = $wish === '' ? 0 : (int)self::fulfilled()->get($wish);
            if ($same) {
                return (object)['id' => $same, 'count' => $DB->count_records(self::OUTBOX, ['campaign_id' => $same])];
            }
            $transaction = $DB->start_delegated_transaction();
            $now = time();
            $id = $DB->insert_record(self::TABLE, (object)[
                'type' => self::TYPE,
                'company_id' => $audience->company,
                'subject' => $text->subject,
                'body' => $text->body,
                'created_by' => $USER->id,
                'send_at' => $sendat ?: $now,
                'status' => $draft ? 'draft' : 'queued',
                'created_at' => $now,
            ]);
            $count = $audience->fill($id);
            if (!$count) {
                throw new \moodle_exception('cloudcampaignnobody', 'local_manireports');
            }
            $transaction->allow_commit();
            if ($wish !== '') {
                self::fulfilled()->set($wish, $id);
            }
        } catch (\Throwable $error) {
            if (isset($transaction) && !$transaction->is_disposed()) {
                $transaction->rollback($error);
            }
            throw $error;
        } finally {
            $lock->release();
        }
        if ($draft) {
            cloud_campaign_changed::of_campaign($id, $audience->company, 'drafted')->trigger();
        } else {
            reengagement_campaign_triggered::of_campaign($id, $audience->company, $count)->trigger();
        }
        return (object)['id' => $id, 'count' => $count];
    }

    /**
     * Which wishes were fulfilled already; shared by all web servers.
     */
    private static function fulfilled(): \cache {
        return \cache::make_from_params(\cache_store::MODE_APPLICATION, 'local_manireports', 'cloudcampaigns', [], [
            'simplekeys' => true, 'simpledata' => true,
        ]);
    }

    /**
     * Change the text of a campaign of which nothing moves.
     *
     * @param int $id
     * @param campaign_text $text
     * @param int $sendat not before, Unix seconds; 0: now
     */
    public static function edit(int $id, campaign_text $text, int $sendat): void {
        self::change($id, self::EDITABLE, 'edited', fn() => [
            'subject' => $text->subject,
            'body' => $text->body,
            'send_at' => $sendat ?: time(),
        ]);
    }

    /**
     * Send what of a campaign waits: a draft, or one that was held or failed.
     *
     * @param int $id
     * @return int how many mails
     */
    public static function queue(int $id): int {
        $count = 0;
        $before = self::change($id, self::EDITABLE, 'queued', function ($campaign) use (&$count) {
            $count = self::waiting([$campaign->id])[$campaign->id] ?? 0;
            if (!$count) {
                throw new \moodle_exception('cloudcampaignnobody', 'local_manireports');
            }
            return ['status' => 'queued', 'error_message' => null, 'send_at' => max(time(), (int)$campaign->send_at)];
        });
        if ($before->status === 'draft') {
            reengagement_campaign_triggered::of_campaign($id, (int)$before->company_id, $count)->trigger();
        }
        return $count;
    }

    /**
     * Never send what of a campaign has not left. The sidecar cancels what a job has already.
     *
     * @param int $id
     * @return int id of the request to the sidecar; 0: it is done
     */
    public static function cancel(int $id): int {
        global $DB;
        $request = 0;
        self::change($id, self::OPEN, 'cancelled', function ($campaign) use ($DB, &$request) {
            if ($campaign->job_id) {
                $request = requests::ask('campaign_cancel', ['campaign' => (int)$campaign->id]);
                return [];
            }
            $DB->set_field(self::OUTBOX, 'status', 'cancelled', ['campaign_id' => $campaign->id, 'status' => 'waiting']);
            return ['status' => 'cancelled', 'error_message' => null];
        });
        return $request;
    }

    /**
     * Remove a draft and its recipients.
     *
     * @param int $id
     */
    public static function delete(int $id): void {
        global $DB;
        self::change($id, ['draft'], 'deleted', function ($campaign) use ($DB) {
            $DB->delete_records(self::OUTBOX, ['campaign_id' => $campaign->id]);
            $DB->delete_records(self::TABLE, ['id' => $campaign->id]);
            return [];
        });
    }

    /**
     * Change a campaign while its row is locked, so that no claim comes between.
     *
     * @param int $id
     * @param string[] $states in which it may be changed
     * @param string $what for the log
     * @param callable $change gets the row, returns new values by column
     * @return \stdClass the row as it was
     * @throws \moodle_exception if its state is another one meanwhile
     */
    private static function change(int $id, array $states, string $what, callable $change): \stdClass {
        global $DB;
        self::read($id);
        $transaction = $DB->start_delegated_transaction();
        try {
            $campaign = $DB->get_record_sql('SELECT * FROM {' . self::TABLE . '} WHERE id = :id FOR UPDATE', ['id' => $id]);
            if (!$campaign || !in_array($campaign->status, $states, true)) {
                throw new \moodle_exception('cloudcampaignmoved', 'local_manireports');
            }
            $values = $change($campaign);
            if ($values) {
                $DB->update_record(self::TABLE, (object)($values + ['id' => $campaign->id]));
            }
            $transaction->allow_commit();
        } catch (\Throwable $error) {
            $transaction->rollback($error);
        }
        cloud_campaign_changed::of_campaign($id, (int)$campaign->company_id, $what)->trigger();
        return $campaign;
    }
}
