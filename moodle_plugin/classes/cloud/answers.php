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
 * What the sidecar answered, in words.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class answers {
    /** @var array[] for each request: a string for each number of its answer, said where it is not 0; the first always */
    private const NUMBERS = [
        'retry' => ['mails' => 'cloudanswerretry'],
        'resend' => ['job' => 'cloudanswerresend'],
        'cancel' => ['cancelled' => 'cloudanswercancel', 'left' => 'cloudanswerleft'],
        'release' => ['returned' => 'cloudanswerrelease', 'held' => 'cloudanswerheld'],
        'resolve' => ['resolved' => 'cloudanswerresolve'],
        'suppress_failed' => ['suppressed' => 'cloudanswersuppress'],
        'pause' => ['held' => 'cloudanswerpause', 'left' => 'cloudanswerleft'],
        'resume' => ['resumed' => 'cloudanswerresume'],
    ];

    /**
     * An answer in words.
     *
     * @param string $action the request's
     * @param \stdClass $answer
     */
    public static function words(string $action, \stdClass $answer): string {
        if (isset($answer->error)) {
            return get_string('cloudanswererror', 'local_manireports', (string)$answer->error);
        }
        $said = [];
        foreach (self::NUMBERS[$action] ?? [] as $field => $string) {
            $number = (int)($answer->$field ?? 0);
            if ($number || !$said) {
                $said[] = get_string($string, 'local_manireports', vocabulary::number($number));
            }
        }
        if (!empty($answer->why)) {
            $said[] = (string)$answer->why;
        }
        return $said ? implode(' ', $said) : get_string('cloudanswerdone', 'local_manireports');
    }

    /**
     * Where an answer leads, such as to the job that repeats mails.
     *
     * @param \stdClass $answer
     * @return \moodle_url|null
     */
    public static function url(\stdClass $answer): ?\moodle_url {
        $job = (int)($answer->job ?? 0);
        return $job ? new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $job]) : null;
    }
}
