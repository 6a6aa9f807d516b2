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
use local_manireports\cloud\job_actions;
use local_manireports\cloud\job_figures;
use local_manireports\cloud\page;
use local_manireports\cloud\recipients;
use local_manireports\cloud\sidecar;
use local_manireports\cloud\vocabulary;

/**
 * The living part of a job's page.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class job_view implements \renderable, \templatable {
    /** @var int batches that are listed */
    private const BATCHES = 20;

    /** @var int characters of the error log that are shown: its end */
    private const LOG = 4000;

    /**
     * The view.
     *
     * @param \stdClass $job row of {@see cloud_job_manager::read}
     * @param string $status only recipients in this state; empty: all
     * @param string $text only recipients with this in name or address; empty: all
     * @param string $after cursor of the row before the page of recipients
     * @param string $before cursor of the row behind it
     */
    public function __construct(
        /** @var \stdClass row of the job */
        private readonly \stdClass $job,
        /** @var string only recipients in this state; empty: all */
        private readonly string $status = '',
        /** @var string only recipients with this in name or address; empty: all */
        private readonly string $text = '',
        /** @var string cursor of the row before the page of recipients */
        private readonly string $after = '',
        /** @var string cursor of the row behind it */
        private readonly string $before = ''
    ) {
    }

    /**
     * For local_manireports/cloud_job_live.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        $job = $this->job;
        $states = recipients::states((int)$job->id);
        $sidecar = new sidecar();
        $children = cloud_job_manager::children((int)$job->id);
        [$row] = jobs_list::rows([$job], $sidecar->alive());
        $parenturl = new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => (int)$job->parent_job_id]);
        return [
            'banner' => (new banner($sidecar))->export_for_template($output),
            'job' => $row,
            'source' => vocabulary::source($job->source),
            'parent' => $job->parent_job_id ? ['id' => (int)$job->parent_job_id, 'url' => $parenturl->out(false)] : false,
            'children' => jobs_list::rows($children, $sidecar->alive()),
            'haschildren' => (bool)$children,
            'showcompany' => false,
            'steps' => $this->steps(),
            'tiles' => $this->tiles($states),
            'actions' => $this->actions($states, $sidecar),
            'reasons' => $this->reasons(),
            'batches' => $this->batches(),
            'log' => \core_text::substr((string)$job->error_log, -self::LOG),
            'recipients' => $this->recipients($states),
            'running' => $job->completed_at === null,
        ];
    }

    /**
     * The moments of its life.
     */
    private function steps(): array {
        $job = $this->job;
        $ended = $job->completed_at !== null;
        $moments = [
            'created' => $job->created_at,
            'started' => $job->started_at,
            'closed' => $job->closed_at,
            'completed' => $job->completed_at,
        ];
        $steps = [];
        foreach ($moments as $name => $moment) {
            if (!$moment && $ended) {
                continue;
            }
            $label = get_string($moment ? "cloudstep$name" : "cloudstep{$name}not", 'local_manireports');
            if ($name === 'completed' && $moment) {
                $label = vocabulary::state($job->status);
            }
            $steps[] = ['at' => (int)$moment, 'label' => $label, 'done' => (bool)$moment, 'moment' => page::moment($moment)];
        }
        // What happened is in the order of time, which need not be the usual one.
        usort($steps, fn($a, $b) => ($a['at'] ?: PHP_INT_MAX) <=> ($b['at'] ?: PHP_INT_MAX));
        return $steps;
    }

    /**
     * Its recipients by state, each with the link that shows them.
     *
     * @param int[] $states
     */
    private function tiles(array $states): array {
        $tiles = [];
        foreach ($states as $state => $number) {
            $params = ['id' => $this->job->id, 'status' => $state];
            $url = new \moodle_url('/local/manireports/ui/cloud_job.php', $params, 'recipients');
            $tiles[] = [
                'badge' => vocabulary::badge($state),
                'number' => vocabulary::number($number),
                'url' => $url->out(false),
                'active' => $state === $this->status,
            ];
        }
        return $tiles;
    }

    /**
     * Its buttons, for those who may press them.
     *
     * @param int[] $states
     * @param sidecar $sidecar
     * @return array|bool false: none
     */
    private function actions(array $states, sidecar $sidecar) {
        if (!access::can(access::MANAGE, (int)$this->job->company_id)) {
            return false;
        }
        $url = new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $this->job->id]);
        $buttons = [];
        $closed = false;
        foreach (job_actions::possible($this->job, $states) as $action) {
            $open = job_actions::is_open($action, $sidecar);
            $closed = $closed || !$open;
            $buttons[] = self::button($action, $states) + ['disabled' => !$open];
        }
        if (!$buttons) {
            return false;
        }
        return [
            'action' => $url->out(false),
            'id' => (int)$this->job->id,
            'sesskey' => sesskey(),
            'buttons' => $buttons,
            'closed' => $closed,
        ];
    }

    /**
     * A button.
     *
     * @param string $action
     * @param int[] $states recipients by state
     * @return array action, label, question, grave
     */
    public static function button(string $action, array $states): array {
        $waiting = array_sum(array_intersect_key($states, array_flip(vocabulary::RECIPIENT_WAITING)));
        $refused = $states['permanently_failed'] ?? 0;
        $numbers = [
            'retry' => $states['failed'] ?? 0,
            'retryall' => ($states['failed'] ?? 0) + $refused,
            'suppress' => $refused,
            'resolvesent' => $states['unknown'] ?? 0,
            'resolvefailed' => $states['unknown'] ?? 0,
        ];
        $number = vocabulary::number($numbers[$action] ?? $waiting);
        return [
            'name' => $action,
            'label' => get_string("cloudaction$action", 'local_manireports', $number),
            'question' => get_string("cloudconfirm$action", 'local_manireports', $number),
            'grave' => job_actions::is_grave($action),
            'primary' => $action === 'retry',
        ];
    }

    /**
     * Why mails did not arrive.
     *
     * @return array|bool false: all did
     */
    private function reasons() {
        $rows = [];
        foreach (recipients::reasons((int)$this->job->id) as $reason) {
            $rows[] = [
                'badge' => vocabulary::badge($reason->status),
                'words' => vocabulary::reason($reason->error_code),
                'answer' => mail_rows::answer($reason),
                'number' => vocabulary::number((int)$reason->number),
            ];
        }
        return $rows ? ['rows' => $rows] : false;
    }

    /**
     * Its batches: how many of each state, and those that say most.
     *
     * @return array|bool false: none
     */
    private function batches() {
        $states = cloud_job_manager::batch_states((int)$this->job->id);
        if (!$states) {
            return false;
        }
        $rows = [];
        foreach (cloud_job_manager::batches((int)$this->job->id, self::BATCHES) as $batch) {
            $rows[] = [
                'num' => (int)$batch->batch_num,
                'badge' => vocabulary::badge($batch->status),
                'provider' => vocabulary::provider($batch->provider),
                'emails' => vocabulary::number((int)$batch->email_count),
                'sent' => vocabulary::number((int)$batch->sent_count),
                'failed' => vocabulary::number((int)$batch->failed_count),
                'attempt' => (int)$batch->attempt,
                'queued' => page::moment($batch->queued_at),
                'completed' => page::moment($batch->completed_at),
                'messageid' => $batch->queue_message_id,
                'note' => (string)$batch->error_message,
            ];
        }
        $summary = [];
        foreach ($states as $state => $number) {
            $summary[] = vocabulary::number($number) . ' ' . vocabulary::state($state);
        }
        $total = array_sum($states);
        return [
            'summary' => implode(', ', $summary),
            'total' => vocabulary::number($total),
            'rows' => $rows,
            'more' => $total > count($rows)
                ? get_string('cloudmorebatches', 'local_manireports', vocabulary::number($total - count($rows)))
                : '',
        ];
    }

    /**
     * A page of its recipients, with the form that filters them.
     *
     * @param int[] $states
     */
    private function recipients(array $states): array {
        $id = (int)$this->job->id;
        $page = recipients::page($id, $this->status, $this->text, $this->after, $this->before);
        $params = array_filter(['id' => $id, 'status' => $this->status, 'text' => $this->text], fn($value) => $value !== '');
        $link = fn($more) => (new \moodle_url('/local/manireports/ui/cloud_job.php', $params + $more, 'recipients'))->out(false);
        $options = [];
        foreach ($states as $state => $number) {
            $options[$state] = vocabulary::state($state) . ' (' . vocabulary::number($number) . ')';
        }
        $filtered = $this->status !== '' || $this->text !== '';
        return [
            'id' => $id,
            'action' => (new \moodle_url('/local/manireports/ui/cloud_job.php', null, 'recipients'))->out(false),
            'select' => jobs_filter_form::select('status', 'cloudallstatuses', $options, $this->status ?: null),
            'text' => $this->text,
            'filtered' => $filtered,
            'clearurl' => (new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $id], 'recipients'))->out(false),
            'mails' => mail_rows::export($page->rows, (int)$this->job->company_id),
            'hasmails' => (bool)$page->rows,
            'none' => !$page->rows,
            'previous' => $page->first || !$page->rows ? '' : $link(['before' => recipients::cursor_of($page->rows[0])]),
            'next' => $page->last || !$page->rows ? '' : $link(['after' => recipients::cursor_of(end($page->rows))]),
        ];
    }
}
