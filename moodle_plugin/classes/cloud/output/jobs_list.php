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

namespace local_manireports\cloud\output;

use local_manireports\api\cloud_job_manager;
use local_manireports\cloud\access;
use local_manireports\cloud\job_figures;
use local_manireports\cloud\job_filter;
use local_manireports\cloud\page;
use local_manireports\cloud\sidecar;
use local_manireports\cloud\vocabulary;

/**
 * The living part of the jobs page: the banner, and a page of the list.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class jobs_list implements \renderable, \templatable {
    /** @var int jobs on a page */
    public const PERPAGE = 25;

    /**
     * The list.
     *
     * @param job_filter $filter
     * @param int $page from 0
     */
    public function __construct(
        /** @var job_filter which jobs */
        private readonly job_filter $filter,
        /** @var int from 0 */
        private readonly int $page
    ) {
    }

    /**
     * For local_manireports/cloud_jobs_list.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        $total = cloud_job_manager::count($this->filter);
        $page = min($this->page, max(0, (int)ceil($total / self::PERPAGE) - 1));
        $jobs = $total ? cloud_job_manager::list($this->filter, $page, self::PERPAGE) : [];
        $sidecar = new sidecar();
        $rows = self::rows($jobs, $sidecar->alive());
        $url = new \moodle_url('/local/manireports/ui/cloud_jobs.php', $this->filter->params());
        $nojobs = !$total && !$this->filter->params();
        return [
            'banner' => (new banner($sidecar))->export_for_template($output),
            'jobs' => $rows,
            'hasjobs' => (bool)$rows,
            'nojobs' => $nojobs,
            'nomatch' => !$total && !$nojobs,
            'clearurl' => (new \moodle_url('/local/manireports/ui/cloud_jobs.php'))->out(false),
            'showcompany' => access::is_iomad(),
            'total' => $total === 1
                ? get_string('cloudtotalone', 'local_manireports')
                : get_string('cloudtotal', 'local_manireports', vocabulary::number($total)),
            'paging' => $output->render(new \paging_bar($total, $page, self::PERPAGE, $url)),
            'running' => (bool)array_filter($jobs, fn($job) => $job->completed_at === null),
        ];
    }

    /**
     * Jobs as templates show them.
     *
     * @param \stdClass[] $jobs rows of {@see cloud_job_manager}
     * @param bool $alive whether the sidecar is there: without it, nothing moves
     * @return array[]
     */
    public static function rows(array $jobs, bool $alive): array {
        $progress = job_figures::progress($jobs);
        foreach ($alive ? [] : $progress as $still) {
            $still->rate = 0.0;
            $still->seconds = null;
        }
        $names = cloud_job_manager::user_names(array_column($jobs, 'created_by'));
        $companies = access::company_names(access::VIEW);
        return array_values(array_map(
            fn($job) => self::row($job, $progress[(int)$job->id] ?? null, $names, $companies, $alive),
            $jobs
        ));
    }

    /**
     * A job as templates show it.
     *
     * @param \stdClass $job
     * @param \stdClass|null $progress of a running one
     * @param string[] $names of users
     * @param string[] $companies names, as HTML
     * @param bool $alive whether the sidecar is there
     */
    private static function row(\stdClass $job, ?\stdClass $progress, array $names, array $companies, bool $alive): array {
        $emails = (int)$job->email_count;
        $share = fn($part) => $emails ? min(100, round((int)$part * 100 / $emails, 1)) : 0;
        $running = $job->completed_at === null;
        $time = $running ? self::time_left($job, $progress) : self::duration($job);
        return [
            'id' => (int)$job->id,
            'url' => (new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $job->id]))->out(false),
            'label' => $job->label !== '' ? $job->label : vocabulary::type($job->type),
            'type' => vocabulary::type($job->type),
            'company' => $companies[(int)$job->company_id] ?? '#' . (int)$job->company_id,
            'isretry' => (bool)$job->parent_job_id,
            'who' => $names[(int)$job->created_by] ?? get_string('cloudnobody', 'local_manireports'),
            'size' => vocabulary::size($emails, (int)$job->copy_count),
            'created' => page::moment($job->created_at),
            'badge' => vocabulary::badge($job->status),
            'paused' => $running && $job->paused,
            'sent' => vocabulary::number((int)$job->emails_sent),
            'failed' => vocabulary::number((int)$job->emails_failed),
            'hasfailed' => (int)$job->emails_failed > 0,
            'waiting' => vocabulary::number($progress->waiting ?? 0),
            'sentpercent' => $share($job->emails_sent),
            'failedpercent' => $share($job->emails_failed),
            'percent' => (int)floor($share((int)$job->emails_sent + (int)$job->emails_failed)),
            'active' => $alive && $running && !$job->paused && $job->status === 'processing',
            'rate' => vocabulary::rate($running ? $progress->rate ?? 0 : job_figures::average_rate($job)),
            'time' => $time,
            'provider' => vocabulary::provider($job->provider),
        ];
    }

    /**
     * When a running job will be done.
     *
     * @param \stdClass $job
     * @param \stdClass|null $progress
     */
    public static function time_left(\stdClass $job, ?\stdClass $progress): string {
        if ($job->paused || !$progress || $progress->seconds === null) {
            return '';
        }
        return get_string('cloudtimeleft', 'local_manireports', vocabulary::duration($progress->seconds));
    }

    /**
     * How long a job took that has ended.
     *
     * @param \stdClass $job
     */
    public static function duration(\stdClass $job): string {
        if (!$job->started_at || !$job->completed_at) {
            return '';
        }
        $seconds = (int)$job->completed_at - (int)$job->started_at;
        return get_string('cloudtook', 'local_manireports', vocabulary::duration($seconds));
    }
}
