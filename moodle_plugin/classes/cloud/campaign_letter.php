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

/**
 * A reminder as one student would read it.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class campaign_letter {
    /**
     * The mail to a student of an audience; its link to unsubscribe is dead.
     *
     * @param campaign_text $text
     * @param \stdClass $student a row of {@see campaign_audience::first}
     */
    public static function to(campaign_text $text, \stdClass $student): campaign_text {
        global $CFG;
        $user = \core_user::get_user($student->userid, '*', MUST_EXIST);
        $lang = $user->lang ?: $CFG->lang;
        return $text->or(campaign_text::of_site([$lang, $CFG->lang]))->render(self::values($user, $student, $lang));
    }

    /**
     * Send a text to the current user, filled in for a student, by Moodle's own way.
     *
     * @param campaign_text $text
     * @param \stdClass $student
     * @return bool whether Moodle's mail server took it
     */
    public static function send_to_me(campaign_text $text, \stdClass $student): bool {
        global $USER;
        $mail = self::to($text, $student);
        $subject = get_string('cloudcampaigntestsubject', 'local_manireports', $mail->subject);
        $html = $mail->body;
        $me = \core_user::get_user($USER->id, '*', MUST_EXIST);
        $me->mailformat = 1;
        return (bool)email_to_user($me, \core_user::get_noreply_user(), $subject, html_to_text($html), $html);
    }

    /**
     * What placeholders become; without a course the site stands for it.
     *
     * @param \stdClass $user
     * @param \stdClass $student
     * @param string $lang
     * @return string[]
     */
    private static function values(\stdClass $user, \stdClass $student, string $lang): array {
        global $CFG, $SITE;
        $course = (int)$student->courseid;
        $visit = $course ? (int)$student->lastvisit : (int)$user->lastaccess;
        $date = get_string_manager()->get_string('strftimedate', 'langconfig', null, $lang);
        return [
            'firstname' => $user->firstname,
            'lastname' => $user->lastname,
            'fullname' => trim("$user->firstname $user->lastname"),
            'coursename' => $course ? (string)$student->coursename : $SITE->fullname,
            'courseurl' => $course ? "$CFG->wwwroot/course/view.php?id=$course" : $CFG->wwwroot,
            'lastaccess' => $visit
                ? userdate($visit, $date, \core_date::get_user_timezone($user)) : campaign_text::never($lang),
            'sitename' => $SITE->fullname,
            'unsubscribeurl' => "$CFG->wwwroot/local/manireports/ui/unsubscribe.php?token=preview",
        ];
    }
}
