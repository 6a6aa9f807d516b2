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
 * Somebody used the link in a reminder: the sidecar, which alone can open its token, is asked to write it down.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class unsubscribing {
    /** @var int seconds that limits count */
    private const PERIOD = 60;

    /** @var int requests from one address within the period */
    private const EACH = 20;

    /** @var int requests from all addresses within the period */
    private const ALL = 600;

    /**
     * Whether it can be a token of ours.
     *
     * @param string $token
     */
    public static function is_token(string $token): bool {
        return (bool)preg_match('/^[A-Za-z0-9_-]{32,1024}$/D', $token);
    }

    /**
     * Leave a request for the sidecar; a token that was used within a day leaves none.
     *
     * @param string $token of {@see is_token}
     * @param string $address from which it came
     * @return bool false: too many came, it has to be tried again
     */
    public static function ask(string $token, string $address): bool {
        global $DB;
        $cache = \cache::make_from_params(\cache_store::MODE_APPLICATION, 'local_manireports', 'cloudunsubscribe', [], [
            'simplekeys' => true, 'simpledata' => true,
        ]);
        $used = 'used' . hash('sha256', $token);
        if ((int)$cache->get($used) > time() - DAYSECS) {
            return true;
        }
        $period = intdiv(time(), self::PERIOD);
        foreach (['all' => self::ALL, hash('sha256', $address) => self::EACH] as $who => $most) {
            $key = "n$who";
            [$when, $number] = array_map('intval', explode(':', (string)$cache->get($key) ?: '0:0'));
            $number = $when === $period ? $number + 1 : 1;
            if ($number > $most) {
                return false;
            }
            $cache->set($key, "$period:$number");
        }
        $DB->insert_record('manireports_cloud_requests', (object)[
            'action' => 'unsubscribe',
            'params' => json_encode(['token' => $token]),
            'status' => 'new',
            'created_by' => 'unsubscribe',
            'created_at' => time(),
        ]);
        $cache->set($used, (string)time());
        return true;
    }
}
