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

namespace local_manireports\output;

use local_manireports\cloud\access;
use local_manireports\cloud\vocabulary;

/**
 * What the earlier dashboards show of the sidecar's jobs: to each user those of the companies that they may see.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_offload_data_loader {
    /** @var string[] states of a job that goes on */
    private const ACTIVE = ['pending', 'queued', 'processing', 'retry_pending', 'manual_retry'];

    /** @var string the one type of job that is no mail, of earlier versions */
    private const CERTIFICATES = 'certificate_generation';

    /** @var string[] columns of a company's settings that pages never get to see */
    private const SECRETS = ['aws_access_key', 'aws_secret_key', 'cloudflare_api_token', 'callback_secret', 'callback_secret_old'];

    /** @var int recipients of a job that are read at most */
    public const MOST_RECIPIENTS = 1000;

    /** @var int user that asks */
    protected $userid;

    /**
     * Rights are always those of the current user; the argument is what earlier pages give.
     *
     * @param int $userid
     */
    public function __construct($userid) {
        $this->userid = $userid;
    }

    /**
     * Jobs, the newest first.
     *
     * @param string $type 'email', 'certificate' or 'all'
     * @param string $statusfilter 'active' or 'history'
     * @param int $limit
     * @return \stdClass[] rows of manireports_cloud_jobs; type, label and error_log are safe to print
     */
    public function get_cloud_jobs($type = 'all', $statusfilter = 'active', $limit = 10) {
        global $DB;
        [$where, $params] = $this->condition($type);
        [$in, $states] = $DB->get_in_or_equal(self::ACTIVE, SQL_PARAMS_NAMED, 'state', $statusfilter === 'active');
        $jobs = $DB->get_records_select(
            'manireports_cloud_jobs',
            "$where AND status $in",
            $params + $states,
            $statusfilter === 'active' ? 'created_at DESC, id DESC' : 'COALESCE(completed_at, created_at) DESC, id DESC',
            '*',
            0,
            max(1, (int)$limit)
        );
        foreach ($jobs as $job) {
            $job->type = s(class_exists(vocabulary::class) ? vocabulary::type($job->type) : $job->type);
            $job->status = s($job->status);
            $job->label = s($job->label);
            $job->error_log = $job->error_log === null ? null : s($job->error_log);
            $job->emails_sent = (int)$job->emails_sent;
            $job->completed_at = (int)($job->completed_at ?: $job->timemodified ?: $job->created_at);
        }
        return $jobs;
    }

    /**
     * Figures of today.
     *
     * @param string $type 'email', 'certificate' or 'all'
     * @return int[] active_jobs, completed_today, failed_today, sent_today
     */
    public function get_job_stats($type = 'all') {
        global $DB;
        [$where, $params] = $this->condition($type);
        $today = ['today' => usergetmidnight(time())];
        [$in, $states] = $DB->get_in_or_equal(self::ACTIVE, SQL_PARAMS_NAMED, 'state');
        $found = $DB->get_record_sql(
            "SELECT COALESCE(SUM(CASE WHEN status = 'completed' THEN 1 ELSE 0 END), 0) AS completed,
                    COALESCE(SUM(CASE WHEN status IN ('failed', 'partial_failure') THEN 1 ELSE 0 END), 0) AS failed,
                    COALESCE(SUM(emails_sent), 0) AS sent
               FROM {manireports_cloud_jobs}
              WHERE $where AND completed_at >= :today",
            $params + $today
        );
        return [
            'active_jobs' => $DB->count_records_select('manireports_cloud_jobs', "$where AND status $in", $params + $states),
            'completed_today' => (int)$found->completed,
            'failed_today' => (int)$found->failed,
            'sent_today' => (int)$found->sent,
        ];
    }

    /**
     * How a company's mail is sent; without any key.
     *
     * @param int $companyid
     * @return \stdClass|false false if it has no settings, or the user may not see them
     */
    public function get_company_settings($companyid) {
        global $DB;
        if (!access::can(access::CONFIGURE, (int)$companyid)) {
            return false;
        }
        $settings = $DB->get_record('manireports_cloud_company_settings', ['company_id' => (int)$companyid]);
        foreach ($settings ? self::SECRETS : [] as $secret) {
            $settings->$secret = '';
        }
        return $settings;
    }

    /**
     * The companies whose settings the user may change, by id.
     *
     * @return \stdClass[] each with id and name, safe to print
     */
    public function get_companies() {
        $companies = [];
        foreach (access::company_names(access::CONFIGURE) as $id => $name) {
            if ($id) {
                $companies[$id] = (object)['id' => $id, 'name' => $name];
            }
        }
        return $companies;
    }

    /**
     * Recipients of a job, those in trouble first; none if the user may not see it.
     *
     * @param int $jobid
     * @return \stdClass[] at most MOST_RECIPIENTS rows of manireports_cloud_recipients
     */
    public function get_job_recipients($jobid) {
        global $DB;
        $companyid = $DB->get_field('manireports_cloud_jobs', 'company_id', ['id' => (int)$jobid]);
        if ($companyid === false || !access::can(access::VIEW, (int)$companyid)) {
            return [];
        }
        return $DB->get_records_select(
            'manireports_cloud_recipients',
            'job_id = :job',
            ['job' => (int)$jobid],
            "CASE WHEN status IN ('failed', 'permanently_failed', 'unknown') THEN 0 ELSE 1 END, id",
            'id, job_id, email, status, sent_at, error_message, role, error_code',
            0,
            self::MOST_RECIPIENTS
        );
    }

    /**
     * The page on which a company's settings are changed.
     *
     * @param int $companyid
     */
    public static function settings_url(int $companyid): \moodle_url {
        return new \moodle_url('/local/manireports/ui/cloud_settings.php', ['company' => $companyid]);
    }

    /**
     * What stands where earlier pages had their form with keys.
     *
     * @param int $companyid
     * @return string HTML
     */
    public static function settings_summary(int $companyid): string {
        global $DB;
        if (!access::can(access::CONFIGURE, $companyid)) {
            return '';
        }
        $found = $DB->get_record('manireports_cloud_company_settings', ['company_id' => $companyid], 'enabled, provider');
        $provider = $found ? $found->provider : '';
        if ($provider !== '' && class_exists(vocabulary::class)) {
            $provider = vocabulary::provider($provider);
        }
        $text = $found && $found->enabled
            ? get_string('cloudearlierenabled', 'local_manireports', s($provider))
            : get_string('cloudearlierdisabled', 'local_manireports');
        $link = \html_writer::link(
            self::settings_url($companyid),
            get_string('cloudearliersettings', 'local_manireports'),
            ['class' => 'btn btn-primary']
        );
        return \html_writer::tag('p', $text) . \html_writer::tag('p', $link);
    }

    /**
     * The jobs of a kind that the user may see.
     *
     * @param string $type 'email', 'certificate' or 'all'
     * @return array [$sql, $params]
     */
    private function condition($type): array {
        [$where, $params] = access::sql(access::VIEW, 'company_id');
        if ($type === 'email' || $type === 'certificate') {
            $where .= $type === 'email' ? ' AND type <> :certificates' : ' AND type = :certificates';
            $params['certificates'] = self::CERTIFICATES;
        }
        return [$where, $params];
    }
}
