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

use local_manireports\cloud\access;
use local_manireports\cloud\campaigns;
use local_manireports\cloud\company_settings;
use local_manireports\cloud\page;
use local_manireports\cloud\sidecar;
use local_manireports\cloud\vocabulary;

/**
 * The list of campaigns.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class campaign_list implements \renderable, \templatable {
    /** @var int campaigns on a page */
    private const SIZE = 25;

    /** @var string[] colours of states, as classes that Bootstrap 4 and 5 both know */
    private const BADGES = [
        'draft' => 'bg-light text-dark border',
        'queued' => 'bg-info text-white',
        'running' => 'bg-primary text-white',
        'held' => 'bg-warning text-dark',
        'done' => 'bg-success text-white',
        'failed' => 'bg-danger text-white',
        'cancelled' => 'bg-dark text-white',
    ];

    /**
     * A page of the list.
     *
     * @param int $page from 0
     * @param \moodle_url $url
     */
    public function __construct(
        /** @var int from 0 */
        private readonly int $page,
        /** @var \moodle_url of the page */
        private readonly \moodle_url $url
    ) {
    }

    /**
     * For local_manireports/cloud_campaigns.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        $rows = campaigns::page($this->page, self::SIZE);
        $open = array_filter($rows, fn($row) => in_array($row->status, campaigns::OPEN, true));
        $waiting = campaigns::waiting(array_keys($open));
        $names = access::company_names(access::CAMPAIGN);
        $campaigns = array_map(fn($row) => $this->campaign($row, $waiting[$row->id] ?? 0, $names), array_values($rows));
        return [
            'tabs' => (new tabs('campaign'))->export_for_template($output),
            'campaigns' => $campaigns,
            'hascampaigns' => (bool)$campaigns,
            'showcompany' => count($names) > 1,
            'new' => (new \moodle_url('/local/manireports/ui/cloud_campaign_edit.php'))->out(false),
            'dead' => !(new sidecar())->alive(),
            'paging' => $output->paging_bar(campaigns::count(), $this->page, self::SIZE, $this->url),
        ];
    }

    /**
     * A row.
     *
     * @param \stdClass $row
     * @param int $waiting rows of its outbox
     * @param string[] $names of companies
     */
    private function campaign(\stdClass $row, int $waiting, array $names): array {
        $company = (int)$row->company_id;
        $author = $row->created_by ? \core_user::get_user($row->created_by) : false;
        $settings = company_settings::own($company);
        $stuck = in_array($row->status, ['queued', 'running'], true) && !$settings->enabled;
        $job = (int)$row->job_id;
        return [
            'id' => (int)$row->id,
            'subject' => $row->subject !== '' ? $row->subject : get_string('cloudcampaigntextsite', 'local_manireports'),
            'company' => $names[$company] ?? "#$company",
            'author' => $author ? fullname($author) : get_string('cloudcampaignbycommand', 'local_manireports'),
            'created' => page::moment($row->created_at),
            'sendat' => $row->send_at > time() ? page::moment($row->send_at) : null,
            'badge' => [
                'state' => $row->status,
                'label' => vocabulary::campaign($row->status),
                'classes' => self::BADGES[$row->status] ?? 'bg-light text-dark border',
            ],
            'recipients' => vocabulary::number($waiting + (int)$row->emails),
            'waiting' => $waiting ? vocabulary::number($waiting) : '',
            'job' => $job ? [
                'id' => $job,
                'url' => access::can(access::VIEW, $company)
                    ? (new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $job]))->out(false) : '',
                'sent' => vocabulary::number((int)$row->sent),
                'failed' => (int)$row->failed ? vocabulary::number((int)$row->failed) : '',
            ] : false,
            'note' => $stuck ? get_string('cloudcampaignstuck', 'local_manireports') : (string)$row->error_message,
            'edit' => in_array($row->status, campaigns::EDITABLE, true) ? $this->edit(['id' => $row->id]) : '',
            'again' => in_array($row->status, ['done', 'cancelled'], true) ? $this->edit(['copy' => $row->id]) : '',
            'actions' => $this->actions($row, $waiting),
        ];
    }

    /**
     * The buttons of a row.
     *
     * @param \stdClass $row
     * @param int $waiting
     */
    private function actions(\stdClass $row, int $waiting): array {
        $possible = match ($row->status) {
            'draft' => ['queue', 'delete'],
            'held', 'failed' => ['queue', 'cancel'],
            'queued', 'running' => ['cancel'],
            default => [],
        };
        $actions = [];
        foreach ($possible as $action) {
            if ($action === 'queue' && !$waiting) {
                continue;
            }
            $actions[] = [
                'action' => $action,
                'id' => (int)$row->id,
                'url' => $this->url->out(false),
                'sesskey' => sesskey(),
                'label' => get_string("cloudcampaignaction_$action", 'local_manireports'),
                'question' => get_string("cloudcampaignquestion_$action", 'local_manireports', vocabulary::number($waiting)),
                'primary' => $action === 'queue',
                'grave' => $action !== 'queue',
            ];
        }
        return $actions;
    }

    /**
     * Where a campaign is edited.
     *
     * @param array $params
     */
    private function edit(array $params): string {
        return (new \moodle_url('/local/manireports/ui/cloud_campaign_edit.php', $params))->out(false);
    }
}
