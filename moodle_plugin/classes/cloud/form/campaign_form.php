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

namespace local_manireports\cloud\form;

use local_manireports\cloud\campaign_audience;
use local_manireports\cloud\campaign_text;

defined('MOODLE_INTERNAL') || die();

require_once($CFG->libdir . '/formslib.php');

/**
 * A reminder: to whom, what, and when. Custom data: company (int), campaign (row, null for a new one), wish (string).
 *
 * The recipients of a campaign that is there already are fixed; its text and time are not.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class campaign_form extends \moodleform {
    /**
     * The fields.
     */
    protected function definition() {
        $mform = $this->_form;
        $campaign = $this->_customdata['campaign'];
        $hidden = ['company' => (int)$this->_customdata['company'], 'id' => (int)($campaign->id ?? 0)];
        foreach ($hidden as $name => $value) {
            $mform->addElement('hidden', $name, $value);
            $mform->setType($name, PARAM_INT);
        }
        $mform->addElement('hidden', 'wish', $this->_customdata['wish']);
        $mform->setType('wish', PARAM_ALPHANUM);
        if (!$campaign) {
            $this->audience();
        }
        $this->text();
        $mform->addElement('header', 'cloudwhen', $this->say('cloudcampaignwhen'));
        $mform->setExpanded('cloudwhen', $campaign && $campaign->send_at > time());
        $mform->addElement('date_time_selector', 'sendat', $this->say('cloudcampaignsendat'), ['optional' => true]);
    }

    /**
     * To whom.
     */
    private function audience(): void {
        $mform = $this->_form;
        $mform->addElement('header', 'cloudwho', $this->say('cloudcampaignwho'));
        $mform->addElement('autocomplete', 'courses', $this->say('cloudcampaigncourses'), $this->courses(), [
            'multiple' => true,
            'noselectionstring' => $this->say('cloudcampaignallcourses'),
        ]);
        $mform->addElement('text', 'days', $this->say('cloudcampaigndays'), ['size' => 5, 'inputmode' => 'numeric']);
        $mform->setType('days', PARAM_INT);
        $mform->setDefault('days', 30);
        $mform->addHelpButton('days', 'cloudcampaigndays', 'local_manireports');
    }

    /**
     * What.
     */
    private function text(): void {
        $mform = $this->_form;
        $mform->addElement('header', 'cloudwhat', $this->say('cloudcampaignwhat'));
        $mform->setExpanded('cloudwhat');
        $mform->addElement('select', 'own', $this->say('cloudcampaigntext'), [
            1 => $this->say('cloudcampaigntextown'),
            0 => $this->say('cloudcampaigntextsite'),
        ]);
        $attributes = ['size' => 60, 'maxlength' => campaign_text::SUBJECT];
        $mform->addElement('text', 'subject', $this->say('cloudcolumnsubject'), $attributes);
        $mform->setType('subject', PARAM_RAW_TRIMMED);
        $mform->hideIf('subject', 'own', 'eq', 0);
        $options = ['maxfiles' => 0, 'noclean' => true, 'context' => \core\context\system::instance()];
        $mform->addElement('editor', 'body', $this->say('cloudcampaignbody_label'), ['rows' => 14], $options);
        $mform->setType('body', PARAM_RAW);
        $mform->hideIf('body', 'own', 'eq', 0);
    }

    /**
     * The courses to choose from.
     *
     * @return string[] names by id
     */
    private function courses(): array {
        return campaign_audience::course_names((int)$this->_customdata['company']);
    }

    /**
     * The text that was written; empty where the site's own is wanted.
     *
     * @param \stdClass $data as submitted
     */
    public static function written(\stdClass $data): campaign_text {
        if (empty($data->own)) {
            return new campaign_text('', '');
        }
        return self::as_html((string)$data->subject, (array)$data->body);
    }

    /**
     * A text out of an editor, whatever the person prefers to write in.
     *
     * @param string $subject
     * @param array $body text and format
     */
    public static function as_html(string $subject, array $body): campaign_text {
        $text = trim((string)($body['text'] ?? ''));
        $html = match ((int)($body['format'] ?? FORMAT_HTML)) {
            FORMAT_PLAIN, FORMAT_MOODLE => text_to_html($text, false, true),
            FORMAT_MARKDOWN => markdown_to_html($text),
            default => $text,
        };
        return new campaign_text(trim($subject), $html);
    }

    /**
     * What is wrong with what was submitted.
     *
     * @param array $data
     * @param array $files
     * @return string[]
     */
    public function validation($data, $files) {
        $complaints = parent::validation($data, $files);
        if (!$this->_customdata['campaign'] && ($data['days'] < 1 || $data['days'] > campaign_audience::DAYS)) {
            $complaints['days'] = $this->say('cloudcampaigndaysrule', campaign_audience::DAYS);
        }
        $text = self::written((object)$data);
        if (!empty($data['own'])) {
            foreach (['subject', 'body'] as $field) {
                $plain = $field === 'body' ? trim(html_to_text($text->body)) : $text->subject;
                if ($plain === '') {
                    $complaints[$field] = get_string('required');
                }
            }
        }
        if (!empty($data['sendat']) && $data['sendat'] > time() + YEARSECS) {
            $complaints['sendat'] = $this->say('cloudcampaignsendatrule');
        }
        return $complaints + $text->complaints();
    }

    /**
     * A string of ours.
     *
     * @param string $name
     * @param mixed $a
     */
    private function say(string $name, $a = null): string {
        return get_string($name, 'local_manireports', $a);
    }
}
