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

namespace local_manireports\external;

use core_external\external_api;
use core_external\external_multiple_structure;
use core_external\external_value;
use local_manireports\cloud\access;
use local_manireports\cloud\campaign_audience;
use local_manireports\cloud\campaign_outbox;
use local_manireports\cloud\campaign_text;
use local_manireports\cloud\campaigns;
use local_manireports\cloud\form\campaign_form;

/**
 * What the services of the reminder's page share: whom and what the person has in mind.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
abstract class cloud_campaign_service extends external_api {
    /**
     * Parameters that say to whom.
     */
    protected static function to_whom(): array {
        return [
            'id' => new external_value(PARAM_INT, 'a campaign that is there already; 0: a new one'),
            'company' => new external_value(PARAM_INT, 'of a new one; 0: no company'),
            'courses' => new external_multiple_structure(new external_value(PARAM_INT, 'a course'), 'none: all courses'),
            'days' => new external_value(PARAM_INT, 'since the last visit'),
        ];
    }

    /**
     * Parameters that say what, and the student for whom it is filled in.
     */
    protected static function what(): array {
        return [
            'own' => new external_value(PARAM_BOOL, 'whether there is a text; else the site\'s own is meant'),
            'subject' => new external_value(PARAM_RAW, 'plain text'),
            'body' => new external_value(PARAM_RAW, 'as it is in the editor'),
            'format' => new external_value(PARAM_INT, 'of the body'),
            'userid' => new external_value(PARAM_INT, 'the student; 0: the first one'),
            'courseid' => new external_value(PARAM_INT, 'the course of the mail'),
        ];
    }

    /**
     * Those who are meant, if the current user may write to them.
     *
     * @param array $params
     * @return campaign_audience|campaign_outbox
     * @throws \moodle_exception
     */
    protected static function audience(array $params) {
        self::validate_context(\core\context\system::instance());
        if ($params['id']) {
            return new campaign_outbox(campaigns::read($params['id']));
        }
        access::require(access::CAMPAIGN, $params['company']);
        if ($params['days'] < 1 || $params['days'] > campaign_audience::DAYS) {
            throw new \moodle_exception('cloudcampaigndaysrule', 'local_manireports', '', campaign_audience::DAYS);
        }
        return new campaign_audience($params['company'], $params['courses'], $params['days']);
    }

    /**
     * The student for whom the mail is filled in; one of the audience only.
     *
     * @param array $params
     * @return \stdClass|null null: there is nobody
     */
    protected static function student(array $params): ?\stdClass {
        return self::audience($params)->first(1, $params['userid'], $params['courseid'])[0] ?? null;
    }

    /**
     * The text that is meant.
     *
     * @param array $params
     * @throws \moodle_exception with what is wrong with it
     */
    protected static function text(array $params): campaign_text {
        $text = $params['own']
            ? campaign_form::as_html($params['subject'], ['text' => $params['body'], 'format' => $params['format']])
            : new campaign_text('', '');
        $complaints = $text->complaints();
        if ($complaints) {
            throw new \moodle_exception('cloudcampaigntextwrong', 'local_manireports', '', implode(' ', $complaints));
        }
        return $text;
    }
}
