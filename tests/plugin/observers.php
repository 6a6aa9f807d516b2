<?php
// Fires events at the plugin's observers as Moodle would, and prints how many milliseconds each took, as JSON.
//
//     observers.php SITE ACTING_USER TYPE=COUNT...   (users, licences, campaign, pause)

define('CLI_SCRIPT', true);
require($argv[1] . '/config.php');

use core\event\base;
use local_manireports\observers\user_observer;

$USER->id = (int)$argv[2];
$times = [];
$number = 100;
foreach (array_slice($argv, 3) as $order) {
    [$what, $count] = explode('=', $order);
    if ($what === 'pause') {
        usleep(1000 * (int)$count);
        continue;
    }
    if ($what === 'crash') {
        fflush(STDOUT);
        posix_kill(getmypid(), SIGKILL);
    }
    for ($i = 0; $i < (int)$count; $i++) {
        $number++;
        $started = hrtime(true);
        if ($what === 'users') {
            user_observer::user_created(new base(['objectid' => $number, 'userid' => $USER->id]));
        } else {
            user_observer::user_license_assigned(new base(['userid' => $number, 'other' => ['licenseid' => 5]]));
        }
        $times[$what][] = (hrtime(true) - $started) / 1e6;
    }
}
echo json_encode($times);
