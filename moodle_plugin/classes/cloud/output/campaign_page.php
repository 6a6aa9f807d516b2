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
use local_manireports\cloud\campaign_text;
use local_manireports\cloud\company_settings;
use local_manireports\cloud\sidecar;

/**
 * The page on which a reminder is written.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class campaign_page implements \renderable, \templatable {
    /**
     * The page.
     *
     * @param int $company
     * @param \stdClass|null $campaign null for a new one
     * @param string[] $names formatted names of companies by id
     * @param string $form HTML
     */
    public function __construct(
        /** @var int the company */
        private readonly int $company,
        /** @var \stdClass|null row; null for a new one */
        private readonly ?\stdClass $campaign,
        /** @var string[] formatted names by id */
        private readonly array $names,
        /** @var string HTML */
        private readonly string $form
    ) {
    }

    /**
     * What the form shows at first.
     *
     * @param \stdClass|null $campaign that is edited, or whose text is used again; null: a new one
     * @return array
     */
    public static function begin_with(?\stdClass $campaign): array {
        if (!$campaign) {
            $text = campaign_text::of_site([current_language()]);
            return ['own' => 1, 'subject' => $text->subject, 'body' => ['text' => $text->body, 'format' => FORMAT_HTML]];
        }
        $site = campaign_text::of_site([current_language()]);
        $own = $campaign->subject !== '' || (string)$campaign->body !== '';
        $text = (new campaign_text($campaign->subject, (string)$campaign->body))->or($site);
        return [
            'own' => (int)$own,
            'subject' => $text->subject,
            'body' => ['text' => $text->body, 'format' => FORMAT_HTML],
            'sendat' => $campaign->send_at > time() ? (int)$campaign->send_at : 0,
        ];
    }

    /**
     * For local_manireports/cloud_campaign.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        global $USER;
        $settings = company_settings::own($this->company);
        $placeholders = array_map(fn($name) => [
            'name' => '{' . $name . '}',
            'means' => get_string("cloudplaceholder_$name", 'local_manireports'),
        ], campaign_text::STANDARD);
        $configure = access::can(access::CONFIGURE, $this->company);
        $settingsurl = new \moodle_url('/local/manireports/ui/cloud_settings.php', ['company' => $this->company]);
        return [
            'tabs' => (new tabs('campaign'))->export_for_template($output),
            'title' => get_string($this->campaign ? 'cloudcampaignedit' : 'cloudcampaignnew', 'local_manireports'),
            'company' => $this->company,
            'id' => (int)($this->campaign->id ?? 0),
            'companies' => !$this->campaign && count($this->names) > 1 ? $this->choice($output) : '',
            'companyname' => count($this->names) > 1 ? ($this->names[$this->company] ?? '') : '',
            'error' => (string)($this->campaign->error_message ?? ''),
            'notenabled' => !$settings->enabled,
            'settings' => $configure ? $settingsurl->out(false) : '',
            'dead' => !(new sidecar())->alive(),
            'form' => $this->form,
            'placeholders' => $placeholders,
            'email' => $USER->email,
            'list' => (new \moodle_url('/local/manireports/ui/cloud_campaign.php'))->out(false),
        ];
    }

    /**
     * The choice of another company.
     *
     * @param \renderer_base $output
     */
    private function choice(\renderer_base $output): string {
        $names = $this->names;
        if (isset($names[0])) {
            $names[0] = get_string('cloudcampaigneverybody', 'local_manireports');
        }
        $url = new \moodle_url('/local/manireports/ui/cloud_campaign_edit.php');
        $select = new \single_select($url, 'company', $names, $this->company, null);
        $select->set_label(get_string('cloudfiltercompany', 'local_manireports'), ['class' => 'sr-only visually-hidden']);
        return $output->render($select);
    }
}
